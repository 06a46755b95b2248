{{/*
The sidecar, for the initContainers of your pod (a native sidecar: it is ready before the agent starts and outlives it):

  initContainers:
    {{- include "toolgate.sidecar" .Subcharts.toolgate | nindent 4 }}

With the volumes below, the pod annotations of "toolgate.podAnnotations" (a changed setting restarts the pod) and, for
credentials and a claimed ledger, `fsGroup` in the pod's securityContext set to the sidecar's user.
*/}}
{{- define "toolgate.sidecar" -}}
- name: toolgate
  image: {{ include "toolgate.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: ["serve", "--config", "/etc/toolgate/settings/toolgate.yaml"]
  ports:
    - {name: tg-health, containerPort: {{ .Values.health.port }}, protocol: TCP}
  startupProbe:
    httpGet: {path: /-/ready, port: tg-health}
    periodSeconds: 1
    timeoutSeconds: 2
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /-/ready, port: tg-health}
    periodSeconds: 5
    timeoutSeconds: 2
  livenessProbe:
    httpGet: {path: /-/live, port: tg-health}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  securityContext:
    runAsUser: {{ .Values.user }}
    runAsGroup: {{ .Values.user }}
    runAsNonRoot: true
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    privileged: false
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - {name: toolgate-settings, mountPath: /etc/toolgate/settings, readOnly: true}
    {{- if .Values.toolspecConfigMaps }}
    {{- range $tool, $name := .Values.toolspecConfigMaps }}
    - {name: toolgate-toolspec-{{ $tool | replace "_" "-" }}, mountPath: /etc/toolgate/toolspecs/{{ $tool }}, readOnly: true}
    {{- end }}
    {{- else }}
    - {name: toolgate-toolspecs, mountPath: /etc/toolgate/toolspecs, readOnly: true}
    {{- end }}
    - {name: toolgate-policies, mountPath: /etc/toolgate/policies, readOnly: true}
    - {name: toolgate-ledger, mountPath: /var/lib/toolgate}
    - {name: toolgate-run, mountPath: /run/toolgate}
    {{- range $name, $secret := include "toolgate.secrets" . | fromYaml }}
    - {name: toolgate-{{ $name }}, mountPath: /etc/toolgate/{{ $name }}, readOnly: true}
    {{- end }}
    {{- if .Values.serviceAccountToken.enabled }}
    - {name: toolgate-token, mountPath: /var/run/secrets/toolgate, readOnly: true}
    {{- end }}
    {{- range .Values.credentials }}
    - {name: toolgate-credentials-{{ .name }}, mountPath: /var/run/secrets/{{ .name }}, readOnly: true}
    {{- end }}
{{- end -}}

{{/* The sidecar's volumes. Mount none of them in the agent. */}}
{{- define "toolgate.volumes" -}}
{{- if and .Values.toolspecs .Values.toolspecConfigMaps -}}
{{- fail "give either toolspecs or toolspecConfigMaps, not both" -}}
{{- end -}}
{{- range .Values.credentials -}}
{{- if and $.Values.serviceAccountToken.enabled (eq .name "toolgate") -}}
{{- fail "the credential `toolgate` would be mounted where serviceAccountToken is: give it another name" -}}
{{- end -}}
{{- end -}}
{{- $name := include "toolgate.fullname" . -}}
- name: toolgate-settings
  configMap: {name: {{ $name }}-settings}
{{- if .Values.toolspecConfigMaps }}
{{- range $tool, $map := .Values.toolspecConfigMaps }}
- name: toolgate-toolspec-{{ $tool | replace "_" "-" }}
  configMap: {name: {{ $map }}}
{{- end }}
{{- else }}
- name: toolgate-toolspecs
  {{- include "toolgate.filesVolume" (dict "name" (printf "%s-toolspecs" $name) "files" .Values.toolspecs) | nindent 2 }}
{{- end }}
- name: toolgate-policies
  {{- include "toolgate.filesVolume" (dict "name" (printf "%s-policies" $name) "files" .Values.policies) | nindent 2 }}
- name: toolgate-ledger
  {{- if .Values.ledger.existingClaim }}
  persistentVolumeClaim: {claimName: {{ .Values.ledger.existingClaim }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ .Values.ledger.sizeLimit }}}
  {{- end }}
- name: toolgate-run
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- range $name, $secret := include "toolgate.secrets" . | fromYaml }}
- name: toolgate-{{ $name }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- if .Values.serviceAccountToken.enabled }}
- name: toolgate-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: {{ int .Values.serviceAccountToken.expirationSeconds }}}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- range .Values.credentials }}
- name: toolgate-credentials-{{ .name }}
  secret: {secretName: {{ .secretName }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{/* A ConfigMap whose keys are paths: items put every file back into its folder. */}}
{{- define "toolgate.filesVolume" -}}
configMap:
  name: {{ .name }}
  {{- if .files }}
  items:
    {{- range $path, $content := .files }}
    - {key: {{ include "toolgate.key" $path | quote }}, path: {{ $path | quote }}}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* Settings are read once, at start: a new digest here restarts the pods. Toolspecs and policies are reloaded live. */}}
{{- define "toolgate.podAnnotations" -}}
toolgate.dev/settings: {{ include "toolgate.settings" . | sha256sum | quote }}
{{- end -}}
