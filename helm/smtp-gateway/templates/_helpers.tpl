{{- define "smtp-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name that all objects of a release begin with; it leaves room for what some append. */}}
{{- define "smtp-gateway.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What the pods are found by; it cannot change once installed. */}}
{{- define "smtp-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "smtp-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{/* Labels of an object. What selects goes before commonLabels. */}}
{{- define "smtp-gateway.labels" -}}
{{ include "smtp-gateway.labelsOf" (list . "gateway") }}
{{- end -}}

{{/* Labels of an object of another component, or with more labels: (list . "component" .Values.more). */}}
{{- define "smtp-gateway.labelsOf" -}}
{{- $component := index . 1 -}}
{{- $more := slice . 2 | first | default dict -}}
{{- with first . -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "smtp-gateway.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/component" $component
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")
-}}
{{- toYaml (merge $own $more .Values.commonLabels) -}}
{{- end -}}
{{- end -}}

{{/* Labels of the pods: without the chart's version, which is no reason to replace them. */}}
{{- define "smtp-gateway.podLabels" -}}
{{- $selector := include "smtp-gateway.selectorLabels" . | fromYaml -}}
{{- toYaml (merge $selector .Values.podLabels .Values.commonLabels) -}}
{{- end -}}

{{- define "smtp-gateway.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{- printf "%s:%s@%s" .Values.image.repository $tag .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "smtp-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "smtp-gateway.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate; empty where the gateway makes its own. */}}
{{- define "smtp-gateway.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- printf "%s-tls" (include "smtp-gateway.fullname" .) -}}
{{- else -}}
{{- .Values.tls.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* The Secret with keys and passwords; empty where there are none. */}}
{{- define "smtp-gateway.secretName" -}}
{{- if .Values.secretFiles -}}
{{- include "smtp-gateway.fullname" . -}}
{{- else -}}
{{- .Values.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "smtp-gateway.backend" -}}
{{- .Values.config.backend | default "http" -}}
{{- end -}}

{{/* The listeners that are on, as JSON: a list of the entries of .Values.listeners with their name. */}}
{{- define "smtp-gateway.listeners" -}}
{{- $listeners := list -}}
{{- range $name, $listener := .Values.listeners -}}
{{- if $listener.enabled -}}
{{- $listeners = append $listeners (merge (dict "name" $name) $listener) -}}
{{- end -}}
{{- end -}}
{{- toJson $listeners -}}
{{- end -}}

{{/* The listener that notes and test send to, as JSON. */}}
{{- define "smtp-gateway.mainListener" -}}
{{- $listeners := include "smtp-gateway.listeners" . | fromJsonArray -}}
{{- $main := first $listeners -}}
{{- range $listeners -}}
{{- if eq .name "submission" -}}{{- $main = . -}}{{- end -}}
{{- end -}}
{{- toJson $main -}}
{{- end -}}

{{/* The settings file: .Values.config, and what follows from other values. */}}
{{- define "smtp-gateway.settings" -}}
{{- $listeners := list -}}
{{- range include "smtp-gateway.listeners" . | fromJsonArray -}}
{{- $listener := dict "port" (int .containerPort) "tls" .tls "auth" .auth -}}
{{- if .host -}}{{- $_ := set $listener "host" .host -}}{{- end -}}
{{- if $.Values.proxyProtocol.enabled -}}
{{- $_ := set $listener "proxy_networks" $.Values.proxyProtocol.networks -}}
{{- end -}}
{{- $listeners = append $listeners $listener -}}
{{- end -}}
{{- $settings := dict "smtp" (dict "listeners" $listeners) -}}
{{- if .Values.tls.selfSigned -}}
{{- $_ := set $settings "tls" (dict "self_signed" true) -}}
{{- end -}}
{{- if ne (int .Values.http.port) 8080 -}}
{{- $_ := set $settings "http" (dict "port" (int .Values.http.port)) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $settings (deepCopy .Values.config)) -}}
{{- end -}}

{{/* Seconds, rounded up, of a period as the settings write it: 45, "45s", "1m30s". */}}
{{- define "smtp-gateway.seconds" -}}
{{- $text := toString . -}}
{{- if regexMatch "^[0-9]+$" $text -}}
{{- $text -}}
{{- else if regexMatch "^([0-9]+(h|m|s|ms) *)+$" $text -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9]+(ms|h|m|s)" $text -1 -}}
{{- $factor := get (dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001) (regexFind "[a-z]+" .) -}}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9]+" . | float64) $factor) -}}
{{- end -}}
{{- ceil $seconds | int -}}
{{- else -}}
{{- fail (printf "%q is no period: write seconds, or 45s, 1m30s" $text) -}}
{{- end -}}
{{- end -}}

{{/* Seconds from SIGTERM to the closing of the listeners: config.drain.pause. */}}
{{- define "smtp-gateway.drainPause" -}}
{{- include "smtp-gateway.seconds" (dig "drain" "pause" "10s" .Values.config) -}}
{{- end -}}

{{/* The longest drain, and a moment to exit. */}}
{{- define "smtp-gateway.gracePeriod" -}}
{{- $deadline := include "smtp-gateway.seconds" (dig "drain" "deadline" "45s" .Values.config) -}}
{{- add (include "smtp-gateway.drainPause" .) $deadline 5 -}}
{{- end -}}
