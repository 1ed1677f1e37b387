{{/* A name with the revision behind it: (list . "weft-control-plane"). */}}
{{- define "weft.revised" -}}
{{- $name := index . 1 -}}
{{- with (index . 0).Values.revision }}{{ $name }}-{{ . }}{{ else }}{{ $name }}{{ end -}}
{{- end -}}

{{/* The revision as labels name it. */}}
{{- define "weft.revision" -}}
{{- .Values.revision | default "default" -}}
{{- end -}}

{{/* An image: (list . "weft-proxy"). */}}
{{- define "weft.image" -}}
{{- with index . 0 -}}
{{ .Values.image.registry }}/{{ index $ 1 }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Labels that pods of a component are selected by: (list . "control-plane"). They never change. */}}
{{- define "weft.selector" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/component: {{ index . 1 }}
weft.mesh/rev: {{ include "weft.revision" (index . 0) | quote }}
{{- end -}}

{{/* Labels of every object of a component. */}}
{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/part-of: weft
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- end -}}

{{/* Where the API server asks a webhook: (list . "/inject"). The control plane puts its certificate authority in. */}}
{{- define "weft.webhookClient" -}}
service:
  name: {{ include "weft.revised" (list (index . 0) "weft-control-plane") }}
  namespace: weft-system
  path: {{ index . 1 }}
  port: 443
{{- end -}}

{{/* What a namespace selector of the injector begins with: a dead control plane never keeps these from mending themselves. */}}
{{- define "weft.notOfTheCluster" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: [kube-system, kube-public, kube-node-lease, weft-system]
{{- end -}}

{{/* One webhook of the injector: (dict "root" . "name" "namespace" "namespaces" LIST "pods" LIST). */}}
{{- define "weft.injector" -}}
- name: {{ .name }}.inject.weft.mesh
  admissionReviewVersions: [v1]
  clientConfig:
    {{- include "weft.webhookClient" (list .root "/inject") | nindent 4 }}
  failurePolicy: {{ .root.Values.injection.failurePolicy }}
  namespaceSelector:
    matchExpressions:
      {{- include "weft.notOfTheCluster" . | nindent 6 }}
      {{- toYaml .namespaces | nindent 6 }}
  objectSelector:
    matchExpressions:
      {{- toYaml .pods | nindent 6 }}
  reinvocationPolicy: Never
  rules:
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CREATE]
    resources: [pods]
    scope: Namespaced
  sideEffects: NoneOnDryRun
  timeoutSeconds: 10
{{- end -}}
