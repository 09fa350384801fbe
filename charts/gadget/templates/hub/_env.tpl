{{/* The hub's settings, each as `gadget-hub --help` names it. */}}
{{- define "gadget.hubEnv" -}}
{{- with .Values.providers.openai -}}
{{- if and .existingSecret (not .url) }}{{ fail "providers.openai.existingSecret needs providers.openai.url, such as https://api.openai.com/v1" }}{{ end -}}
{{- end -}}
{{- with .Values.hub.admin -}}
{{- if ne (empty .email) (empty .existingSecret) }}{{ fail "hub.admin.email and hub.admin.existingSecret need each other" }}{{ end -}}
{{- end -}}
- name: GADGET_LISTEN
  value: 0.0.0.0:8420
- name: GADGET_DATA
  value: /data
{{- /* A pod that is deleted is replaced while it still ends. */}}
- name: GADGET_WAIT_FOR_DATA
  value: {{ printf "%ds" (add .Values.hub.terminationGracePeriodSeconds 30) }}
- name: GADGET_FLEET
  value: kube
- name: GADGET_NAMESPACE
  value: {{ include "gadget.dronesNamespace" . }}
- name: GADGET_CLASS
  value: {{ .Values.drones.className }}
- name: GADGET_DRONE_SERVICE_ACCOUNT
  value: {{ include "gadget.drone" . }}
{{- if include "gadget.testable" . }}
- name: GADGET_TEST_SERVICE_ACCOUNT
  value: {{ .Release.Namespace }}/{{ include "gadget.test" . }}
{{- end }}
{{- include "gadget.variable" (list "GADGET_IDLE_TIMEOUT" .Values.drones.class.idleTimeout) }}
{{- include "gadget.variable" (list "GADGET_PUBLIC_URL" (include "gadget.publicUrl" .)) }}
{{- with .Values.hub }}
{{- if .allowedHosts }}
{{- $own := printf "%s.%s.svc" (include "gadget.hub" $) $.Release.Namespace }}
{{- $hosts := concat .allowedHosts (list (include "gadget.hub" $) $own) }}
{{- if and $.Values.ingress.enabled $.Values.ingress.host }}
{{- $hosts = append $hosts $.Values.ingress.host }}
{{- end }}
{{- include "gadget.variable" (list "GADGET_ALLOWED_HOSTS" (join "," (uniq $hosts))) }}
{{- end }}
{{- include "gadget.variable" (list "GADGET_ALLOWED_ORIGINS" (join "," .allowedOrigins)) }}
{{- include "gadget.variable" (list "GADGET_TRUST_FORWARDED_FOR" .trustForwardedFor) }}
{{- include "gadget.variable" (list "GADGET_TOKEN_HOURS" .signInHours) }}
{{- include "gadget.variable" (list "GADGET_MODEL" .model) }}
{{- include "gadget.variable" (list "GADGET_DEMO" .demo) }}
{{- include "gadget.variable" (list "GADGET_MAX_MODEL_BODY" .limits.modelBody) }}
{{- include "gadget.variable" (list "GADGET_MAX_PROMPT" .limits.prompt) }}
{{- include "gadget.variable" (list "GADGET_PROMPTS_PER_MINUTE" .limits.promptsPerMinute) }}
{{- with .admin }}
{{- include "gadget.variable" (list "GADGET_ADMIN_EMAIL" .email) }}
{{- if .existingSecret }}
{{- include "gadget.variable" (list "GADGET_ADMIN_PASSWORD_FILE" "/etc/gadget/admin/password") }}
{{- end }}
{{- end }}
{{- include "gadget.variable" (list "GADGET_LOG_FORMAT" .log.format) }}
{{- include "gadget.variable" (list "RUST_LOG" .log.filter) }}
{{- end }}
{{- with .Values.providers }}
{{- include "gadget.variable" (list "GADGET_OPENAI_URL" .openai.url) }}
{{- if .openai.existingSecret }}
{{- include "gadget.variable" (list "GADGET_OPENAI_KEY_FILE" "/etc/gadget/openai/api-key") }}
{{- end }}
{{- include "gadget.variable" (list "GADGET_OLLAMA_URL" .ollama.url) }}
{{- end }}
{{- end }}
