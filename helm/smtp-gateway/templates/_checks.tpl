{{/*
What no schema can say: values that contradict each other, or with which no gateway would start. All
faults are told at once.
*/}}
{{- define "smtp-gateway.checks" -}}
{{- $faults := list -}}
{{- $config := .Values.config -}}
{{- $api := $config.api | default dict -}}
{{- $auth := $config.auth | default dict -}}

{{- if ne ($config.backend | default "http") "sandbox" -}}
{{- if not $api.url -}}
{{- $faults = append $faults "config.api.url is missing: where is the email API? (-f values-dev.yaml tries it without one)" -}}
{{- end -}}
{{- if and (eq ($auth.source | default "key-api") "key-api") (not $auth.url) -}}
{{- $faults = append $faults "config.auth.url is missing: where is the authentication API?" -}}
{{- end -}}
{{- end -}}

{{- $sources := 0 -}}
{{- range list .Values.tls.existingSecret .Values.tls.certManager.enabled .Values.tls.selfSigned -}}
{{- if . -}}{{- $sources = add1 $sources -}}{{- end -}}
{{- end -}}
{{- if ne (int $sources) 1 -}}
{{- $faults = append $faults "tls: name one source of the certificate: existingSecret, certManager.enabled, or selfSigned for a trial" -}}
{{- end -}}
{{- if .Values.tls.certManager.enabled -}}
{{- if not .Values.tls.certManager.dnsNames -}}
{{- $faults = append $faults "tls.certManager.dnsNames is missing: which names do applications connect to?" -}}
{{- end -}}
{{- if not .Values.tls.certManager.issuerRef.name -}}
{{- $faults = append $faults "tls.certManager.issuerRef.name is missing: who issues the certificate?" -}}
{{- end -}}
{{- end -}}

{{- $listeners := include "smtp-gateway.listeners" . | fromJsonArray -}}
{{- if not $listeners -}}
{{- $faults = append $faults "listeners: none is enabled" -}}
{{- end -}}
{{- $taken := dict (toString .Values.http.port) "http" -}}
{{- $ports := dict -}}
{{- range $listeners -}}
{{- $containerPort := toString .containerPort -}}
{{- if hasKey $taken $containerPort -}}
{{- $faults = append $faults (printf "listeners.%s.containerPort: %s has port %s already" .name (get $taken $containerPort) $containerPort) -}}
{{- end -}}
{{- $_ := set $taken $containerPort .name -}}
{{- $port := toString .port -}}
{{- if hasKey $ports $port -}}
{{- $faults = append $faults (printf "listeners.%s.port: %s has port %s already" .name (get $ports $port) $port) -}}
{{- end -}}
{{- $_ := set $ports $port .name -}}
{{- end -}}

{{- if hasKey ($config.smtp | default dict) "listeners" -}}
{{- $faults = append $faults "config.smtp.listeners: set listeners, which the Service and the pods follow too" -}}
{{- end -}}
{{- if hasKey ($config.http | default dict) "port" -}}
{{- $faults = append $faults "config.http.port: set http.port, which the Service and the probes follow too" -}}
{{- end -}}
{{- if hasKey ($config.tls | default dict) "self_signed" -}}
{{- $faults = append $faults "config.tls.self_signed: set tls.selfSigned" -}}
{{- end -}}
{{- if and .Values.proxyProtocol.enabled (not .Values.proxyProtocol.networks) -}}
{{- $faults = append $faults "proxyProtocol.networks is missing: the load balancer's addresses; a header from elsewhere is never believed" -}}
{{- end -}}

{{- if and .Values.secretFiles .Values.existingSecret -}}
{{- $faults = append $faults "secretFiles and existingSecret: use one of them" -}}
{{- end -}}
{{- if $api.key -}}
{{- $faults = append $faults "config.api.key: a ConfigMap is no place for a secret; put it in secretFiles or existingSecret, and name it with config.api.key_file" -}}
{{- end -}}
{{- range $auth.accounts -}}
{{- if or .password .api_key -}}
{{- $faults = append $faults (printf "config.auth.accounts, %s: a ConfigMap is no place for a secret; use password_file, api_key_file or password_hash" .name) -}}
{{- end -}}
{{- end -}}

{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- $faults = append $faults "autoscaling and keda: enable one of them, both would scale the same pods" -}}
{{- end -}}
{{- if and .Values.keda.enabled .Values.keda.prometheus.enabled (not .Values.keda.prometheus.serverAddress) -}}
{{- $faults = append $faults "keda.prometheus.serverAddress is missing: where is Prometheus?" -}}
{{- end -}}
{{- range $scaler := list "autoscaling" "keda" -}}
{{- $values := index $.Values $scaler -}}
{{- if and $values.enabled (gt (int $values.minReplicas) (int $values.maxReplicas)) -}}
{{- $faults = append $faults (printf "%s.minReplicas is more than %s.maxReplicas" $scaler $scaler) -}}
{{- end -}}
{{- end -}}

{{- if $faults -}}
{{- fail (printf "\n\nThese values cannot be used:\n- %s\n" (join "\n- " $faults)) -}}
{{- end -}}
{{- end -}}
