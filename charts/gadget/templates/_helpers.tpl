{{- define "gadget.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "gadget.hub" -}}
{{ include "gadget.fullname" . }}-hub
{{- end }}

{{- define "gadget.operator" -}}
{{ include "gadget.fullname" . }}-operator
{{- end }}

{{- define "gadget.drone" -}}
{{ include "gadget.fullname" . }}-drone
{{- end }}

{{- define "gadget.dronesNamespace" -}}
{{ .Values.drones.namespace | default .Release.Namespace }}
{{- end }}

{{/* Cluster-scoped objects of two releases must not meet. */}}
{{- define "gadget.clusterName" -}}
{{ .Release.Namespace }}-{{ include "gadget.fullname" . }}
{{- end }}

{{/* What drones connect to. */}}
{{- define "gadget.hubUrl" -}}
http://{{ include "gadget.hub" . }}.{{ .Release.Namespace }}.svc:{{ .Values.hub.service.port }}
{{- end }}

{{- define "gadget.publicUrl" -}}
{{- if .Values.hub.publicUrl -}}
{{ .Values.hub.publicUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.host -}}
{{ empty .Values.ingress.tlsSecret | ternary "http" "https" }}://{{ .Values.ingress.host }}
{{- end -}}
{{- end }}

{{/* (list . "component"): what a selector looks for; never changes. */}}
{{- define "gadget.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: gadget
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* (list . "component") */}}
{{- define "gadget.labels" -}}
{{- $ := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/version" $.Chart.AppVersion
  "app.kubernetes.io/managed-by" $.Release.Service
  "helm.sh/chart" (printf "gadget-%s" $.Chart.Version) -}}
{{- toYaml (mergeOverwrite (deepCopy $.Values.commonLabels) $own (include "gadget.selector" . | fromYaml)) -}}
{{- end }}

{{/* (list . "component" {more annotations}): the common part of an object's metadata, after its name. */}}
{{- define "gadget.metadata" -}}
{{- $ := index . 0 -}}
labels:
  {{- include "gadget.labels" (list $ (index . 1)) | nindent 2 }}
{{- with mergeOverwrite (deepCopy $.Values.commonAnnotations) (index . 2) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (list . "gadget-hub") */}}
{{- define "gadget.image" -}}
{{- $ := index . 0 -}}
{{- with $.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ index . 1 }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}
{{- end }}

{{/* (list . component's values): what hub and operator pods have in common. Pod Security: restricted. */}}
{{- define "gadget.pod" -}}
{{- $ := index . 0 -}}
{{- $of := index . 1 -}}
automountServiceAccountToken: true
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with $.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "gadget.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* (list name value): one variable, when there is a value. */}}
{{- define "gadget.variable" -}}
{{- $value := index . 1 -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
- name: {{ index . 0 }}
  value: {{ (kindIs "float64" $value) | ternary (printf "%.0f" (float64 $value)) (toString $value) | quote }}
{{- end }}
{{- end }}

{{/* A map without what is empty; false is not empty. */}}
{{- define "gadget.filled" -}}
{{- $filled := dict -}}
{{- range $key, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $value = include "gadget.filled" $value | fromYaml -}}
{{- end -}}
{{- if or (kindIs "bool" $value) (not (empty $value)) -}}
{{- $_ := set $filled $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $filled -}}
{{- end }}
