{{/*
What no schema can say: values that contradict each other, or with which no gateway would start. All
faults are told at once.
*/}}
{{- define "smtp-gateway.checks" -}}
{{- $faults := concat
  (include "smtp-gateway.checks.config" . | fromJsonArray)
  (include "smtp-gateway.checks.listeners" . | fromJsonArray)
  (include "smtp-gateway.checks.tls" . | fromJsonArray)
  (include "smtp-gateway.checks.scaling" . | fromJsonArray)
  (include "smtp-gateway.checks.test" . | fromJsonArray)
-}}
{{- if $faults -}}
{{- fail (printf "\n\nThese values cannot be used:\n- %s\n" (join "\n- " $faults)) -}}
{{- end -}}
{{- end -}}

{{/* Each of the following gives a list of faults, as JSON. */}}
{{- define "smtp-gateway.checks.config" -}}
{{- $faults := list -}}
{{- $api := .Values.config.api | default dict -}}
{{- $auth := .Values.config.auth | default dict -}}

{{- if ne (include "smtp-gateway.backend" .) "sandbox" -}}
{{- if not $api.url -}}
{{- $faults = append $faults "config.api.url is missing: where is the email API? (-f values-dev.yaml tries it without one)" -}}
{{- end -}}
{{- if and (eq ($auth.source | default "key-api") "key-api") (not $auth.url) -}}
{{- $faults = append $faults "config.auth.url is missing: where is the authentication API?" -}}
{{- end -}}
{{- end -}}

{{- range $key, $instead := dict
  "smtp.listeners" "set listeners, which the Service and the pods follow too"
  "smtp.port" "set listeners, which the Service and the pods follow too"
  "http.port" "set http.port, which the Service and the probes follow too"
  "tls.self_signed" "set tls.selfSigned"
  "limits.available_memory" "set resources.limits.memory, which it follows"
  "api.key" "a ConfigMap is no place for a secret; put it in secretFiles or existingSecret, and name it with config.api.key_file"
-}}
{{- $section := get $.Values.config (splitList "." $key | first) | default dict -}}
{{- if hasKey $section (splitList "." $key | last) -}}
{{- $faults = append $faults (printf "config.%s: %s" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- range $auth.accounts -}}
{{- if or .password .api_key -}}
{{- $faults = append $faults (printf "config.auth.accounts, %s: a ConfigMap is no place for a secret; use password_file, api_key_file or password_hash" .name) -}}
{{- end -}}
{{- end -}}

{{- if and .Values.secretFiles .Values.existingSecret -}}
{{- $faults = append $faults "secretFiles and existingSecret: use one of them" -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}

{{- define "smtp-gateway.checks.listeners" -}}
{{- $faults := list -}}
{{- $listeners := include "smtp-gateway.listeners" . | fromJsonArray -}}
{{- if not $listeners -}}
{{- $faults = append $faults "listeners: none is enabled" -}}
{{- end -}}
{{- $taken := dict "containerPort" (dict (toString .Values.http.port) "http") "port" dict -}}
{{- range $listener := $listeners -}}
{{- range $kind, $names := $taken -}}
{{- $port := get $listener $kind | toString -}}
{{- with get $names $port -}}
{{- $faults = append $faults (printf "listeners.%s.%s: %s has port %s already" $listener.name $kind . $port) -}}
{{- end -}}
{{- $_ := set $names $port $listener.name -}}
{{- end -}}
{{- end -}}
{{- if and .Values.proxyProtocol.enabled (not .Values.proxyProtocol.networks) -}}
{{- $faults = append $faults "proxyProtocol.networks is missing: the load balancer's addresses; a header from elsewhere is never believed" -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}

{{- define "smtp-gateway.checks.tls" -}}
{{- $faults := list -}}
{{- $sources := compact (list .Values.tls.existingSecret .Values.tls.certManager.enabled .Values.tls.selfSigned) -}}
{{- if ne (len $sources) 1 -}}
{{- $faults = append $faults "tls: name one source of the certificate: existingSecret, certManager.enabled, or selfSigned for a trial" -}}
{{- end -}}
{{- with .Values.tls.certManager -}}
{{- if and .enabled (not .dnsNames) -}}
{{- $faults = append $faults "tls.certManager.dnsNames is missing: which names do applications connect to?" -}}
{{- end -}}
{{- if and .enabled (not .issuerRef.name) -}}
{{- $faults = append $faults "tls.certManager.issuerRef.name is missing: who issues the certificate?" -}}
{{- end -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}

{{- define "smtp-gateway.checks.scaling" -}}
{{- $faults := list -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- $faults = append $faults "autoscaling and keda: enable one of them, both would scale the same pods" -}}
{{- end -}}
{{- range $scaler := list "autoscaling" "keda" -}}
{{- $values := get $.Values $scaler -}}
{{- if and $values.enabled (gt (int $values.minReplicas) (int $values.maxReplicas)) -}}
{{- $faults = append $faults (printf "%s.minReplicas is more than %s.maxReplicas" $scaler $scaler) -}}
{{- end -}}
{{- if and $values.enabled (not (dig "requests" "cpu" "" $.Values.resources)) -}}
{{- $faults = append $faults (printf "resources.requests.cpu is missing: %s scales by the part of it that is used" $scaler) -}}
{{- end -}}
{{- end -}}
{{- with .Values.keda -}}
{{- if and .enabled .prometheus.enabled (not .prometheus.serverAddress) -}}
{{- $faults = append $faults "keda.prometheus.serverAddress is missing: where is Prometheus?" -}}
{{- end -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}

{{- define "smtp-gateway.checks.test" -}}
{{- $faults := list -}}
{{- $sandbox := eq (include "smtp-gateway.backend" .) "sandbox" -}}
{{- if and .Values.test.user (not .Values.test.passwordSecret.name) (not $sandbox) -}}
{{- $faults = append $faults "test.passwordSecret.name is missing: what is the password of test.user?" -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}
