{{/* Names and labels. */}}
{{- define "toolgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "toolgate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{- define "toolgate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* A file's path as a ConfigMap key: folders become `__`, the volume's items give the path back. */}}
{{- define "toolgate.key" -}}
{{- . | replace "/" "__" -}}
{{- end -}}

{{/* The Secrets of the sidecar's own that are in use, as `name: Secret`; each is mounted at /etc/toolgate/NAME. */}}
{{- define "toolgate.secrets" -}}
{{- $used := dict -}}
{{- if .Values.keys.secretName -}}{{- $_ := set $used "keys" .Values.keys.secretName -}}{{- end -}}
{{- if and .Values.redis.url .Values.redis.secretName -}}{{- $_ := set $used "redis" .Values.redis.secretName -}}{{- end -}}
{{- if .Values.webhook.url -}}{{- $_ := set $used "webhook" .Values.webhook.secretName -}}{{- end -}}
{{- toYaml $used -}}
{{- end -}}

{{/* toolgate.yaml: what the chart fixes, under what `settings` adds or changes. */}}
{{- define "toolgate.settings" -}}
{{- $environments := .Values.environments | default (list .Values.environment) -}}
{{- if not (has .Values.environment $environments) -}}
{{- fail (printf "environment `%s` is not one of environments %v" .Values.environment $environments) -}}
{{- end -}}
{{- $fixed := dict
  "environment" .Values.environment
  "environments" $environments
  "toolspecs" "/etc/toolgate/toolspecs"
  "policies" "/etc/toolgate/policies"
  "ledger" "sqlite:///var/lib/toolgate/ledger.db"
  "listen" (dict
    "agent" "127.0.0.1:8400"
    "admin" "unix:/run/toolgate/admin.sock"
    "health" (printf "0.0.0.0:%d" (int .Values.health.port))) -}}
{{- with .Values.keys.secretName -}}
{{- $_ := set $fixed "keys" (dict "mask" "${file:/etc/toolgate/keys/mask}" "run" "${file:/etc/toolgate/keys/run}") -}}
{{- end -}}
{{- with .Values.webhook.url -}}
{{- $_ := set $fixed "webhook" (dict "url" . "secret" "${file:/etc/toolgate/webhook/secret}") -}}
{{- end -}}
{{- with .Values.redis -}}
{{- if .url -}}
{{- if not (or $.Values.keys.secretName $.Values.settings.keys) -}}
{{- fail "redis.url shares runs between pods, which need the same keys: set keys.secretName" -}}
{{- end -}}
{{- $store := dict "journal" "sqlite:///var/lib/toolgate/ledger.db" "prefix" .prefix -}}
{{- if .secretName -}}{{- $_ := set $store "password" "${file:/etc/toolgate/redis/password}" -}}{{- end -}}
{{- if .useCa -}}{{- $_ := set $store "ca_file" "/etc/toolgate/redis/ca.crt" -}}{{- end -}}
{{- $_ := set $fixed "ledger" .url -}}
{{- $_ := set $fixed "redis" $store -}}
{{- end -}}
{{- end -}}
{{- mustMergeOverwrite $fixed (deepCopy .Values.settings) | toYaml -}}
{{- end -}}
