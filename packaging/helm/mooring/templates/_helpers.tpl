{{- define "mooring.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "mooring.labels" -}}
app.kubernetes.io/name: mooring
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "mooring.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* Labels that select the pods of one Deployment: a list of the root and its component. */}}
{{- define "mooring.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: mooring
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "mooring.clusterSecret" -}}
{{- default (printf "%s-cluster" (include "mooring.name" .)) .Values.cluster.existingSecret -}}
{{- end -}}

{{- define "mooring.keysSecret" -}}
{{- default (printf "%s-keys" (include "mooring.name" .)) .Values.keys.existingSecret -}}
{{- end -}}

{{- define "mooring.hasRedis" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret }}true{{ end -}}
{{- end -}}

{{- define "mooring.coordinatorUrl" -}}
{{ ternary "https" "http" .Values.cluster.tls.enabled }}://{{ include "mooring.name" . }}-coordinator:{{ .Values.service.port }}
{{- end -}}

{{/* The variable that holds a key: admin-2 is in MOORING_BEARER_ADMIN_2. */}}
{{- define "mooring.keyVariable" -}}
MOORING_BEARER_{{ . | replace "-" "_" | upper }}
{{- end -}}

{{/* What cannot work is said before anything is installed. */}}
{{- define "mooring.judge" -}}
{{- if and (gt (int .Values.coordinator.replicas) 1) (not (include "mooring.hasRedis" .)) -}}
{{- fail "coordinator.replicas above 1 needs redis.url or redis.existingSecret: without it each would know a part of the sessions" -}}
{{- end -}}
{{- if and .Values.coordinator.servers (include "mooring.hasRedis" .) -}}
{{- fail "coordinator.servers and redis exclude each other: a coordinator with a shared store runs no servers of its own" -}}
{{- end -}}
{{- if and .Values.redis.url .Values.redis.existingSecret -}}
{{- fail "redis.url and redis.existingSecret exclude each other" -}}
{{- end -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) -}}
{{- fail "tls.enabled needs tls.existingSecret, a Secret of the type kubernetes.io/tls" -}}
{{- end -}}
{{- with .Values.cluster.tls -}}
{{- if and .enabled (not (and .coordinatorSecret .nodeSecret)) -}}
{{- fail "cluster.tls.enabled needs cluster.tls.coordinatorSecret and cluster.tls.nodeSecret, with tls.crt, tls.key and ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts, the names by which clients call the gateway" -}}
{{- end -}}
{{- range $pool, $_ := .Values.nodes -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,14}[a-z0-9])?$" $pool) -}}
{{- fail (printf "nodes: the name %q of a pool may have up to 16 lower-case letters, digits and hyphens, and no hyphen at its ends" $pool) -}}
{{- end -}}
{{- end -}}
{{- $variables := dict -}}
{{- range .Values.keys.list -}}
{{- if not (and (kindIs "string" .name) (regexMatch "^[A-Za-z0-9-]+$" (toString .name))) -}}
{{- fail (printf "keys.list: the name %q may have letters, digits and hyphens only" (toString .name)) -}}
{{- end -}}
{{- $variable := include "mooring.keyVariable" .name -}}
{{- if hasKey $variables $variable -}}
{{- fail (printf "keys.list: %q and %q are one name; they would have one token" (get $variables $variable) .name) -}}
{{- end -}}
{{- $_ := set $variables $variable .name -}}
{{- if hasKey . "token" -}}
{{- fail (printf "keys.list: %s has a token here; put it into the Secret that keys.existingSecret names" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What coordinators and nodes speak TLS with among themselves. */}}
{{- define "mooring.clusterTls" -}}
{{- $files := dict "ca" "/app/cluster-tls/ca.crt" "cert" "/app/cluster-tls/tls.crt" "key" "/app/cluster-tls/tls.key" -}}
{{- if .Values.cluster.tls.optional }}{{- $_ := set $files "optional" true -}}{{- end -}}
{{- if .Values.cluster.tls.revokedKey -}}
{{- $_ := set $files "revoked" (printf "/app/cluster-tls/%s" .Values.cluster.tls.revokedKey) -}}
{{- end -}}
{{- toJson $files -}}
{{- end -}}

{{/* The settings file of the coordinators. */}}
{{- define "mooring.coordinatorSettings" -}}
{{- include "mooring.judge" . -}}
{{- $hosts := .Values.allowedHosts -}}
{{- if .Values.ingress.enabled -}}
{{- $hosts = concat $hosts .Values.ingress.hosts | uniq -}}
{{- end -}}
{{- $system := dict "limits" (dict "dataFolder" 536870912) "cluster" (dict "enabled" true "mode" "coordinator") -}}
{{- with $hosts }}{{- $_ := set $system "allowedHosts" . -}}{{- end -}}
{{- with .Values.trustedProxies }}{{- $_ := set $system "trustedProxies" . -}}{{- end -}}
{{- if .Values.tls.enabled -}}
{{- $files := dict "cert" "/app/tls/tls.crt" "key" "/app/tls/tls.key" "plainFrom" .Values.tls.plainFrom -}}
{{- $_ := set $system "listen" (dict "tls" $files) -}}
{{- end -}}
{{- if .Values.cluster.tls.enabled -}}
{{- $_ := set $system.cluster "tls" (include "mooring.clusterTls" . | fromJson) -}}
{{- end -}}
{{- $settings := dict "mcpServers" .Values.coordinator.servers "systemConfig" $system -}}
{{- $keys := list -}}
{{- range .Values.keys.list -}}
{{- $token := printf "${%s}" (include "mooring.keyVariable" .name) -}}
{{- $keys = append $keys (merge (dict "token" $token) .) -}}
{{- end -}}
{{- with $keys }}{{- $_ := set $settings "bearerKeys" . -}}{{- end -}}
{{- mergeOverwrite $settings (deepCopy .Values.coordinator.settings) | toPrettyJson -}}
{{- end -}}

{{/* The settings file of a pool of nodes: a list of the root and the pool's values. */}}
{{- define "mooring.nodeSettings" -}}
{{- $root := index . 0 -}}
{{- $pool := index . 1 -}}
{{- $limits := dict "childrenPerNode" (int64 $pool.childrenPerNode) "dataFolder" 536870912 -}}
{{- $node := dict "coordinatorUrl" (include "mooring.coordinatorUrl" $root) -}}
{{- $cluster := dict "enabled" true "mode" "node" "node" $node -}}
{{- if $root.Values.cluster.tls.enabled -}}
{{- $_ := set $cluster "tls" (include "mooring.clusterTls" $root | fromJson) -}}
{{- end -}}
{{- $settings := dict "mcpServers" $pool.servers "systemConfig" (dict "limits" $limits "cluster" $cluster) -}}
{{- mergeOverwrite $settings (deepCopy $pool.settings) | toPrettyJson -}}
{{- end -}}

{{/* The pod of either kind: a dict of root, component, values, settings (its ConfigMap), secrets. */}}
{{- define "mooring.pod" -}}
{{- $root := .root -}}
{{- $tls := and .isCoordinator $root.Values.tls.enabled -}}
metadata:
  labels:
    {{- include "mooring.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    mooring-role: {{ ternary "coordinator" "node" .isCoordinator }}
    {{- with .values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A changed settings file means new pods.
    checksum/settings: {{ .settings | sha256sum }}
    {{- with .values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  # Neither the gateway nor a server that it runs has anything to say to Kubernetes.
  automountServiceAccountToken: false
  enableServiceLinks: false
  # Sessions get 25 s to leave (drainDeadline), and servers 6 s to end. preStop is within it.
  terminationGracePeriodSeconds: 40
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  # A machine that fails should take one pod with it, not all.
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "mooring.selector" (list $root .component) | nindent 10 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: mooring
      image: {{ include "mooring.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      ports:
        - name: http
          containerPort: 3000
      env:
        # Others may write to an emptyDir. Mooring makes this folder in it for itself.
        - name: MOORING_DATA
          value: /app/data/mooring
        - name: MOORING_CLUSTER_TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ include "mooring.clusterSecret" $root }}
              key: token
        {{- if .isCoordinator }}
        # Not left to the data folder, which goes with the pod: clients' sessions should not.
        - name: MOORING_SECRET
          valueFrom:
            secretKeyRef:
              name: {{ include "mooring.clusterSecret" $root }}
              key: secret
        {{- if $root.Values.redis.url }}
        - name: MOORING_REDIS_URL
          value: {{ $root.Values.redis.url | quote }}
        {{- else if $root.Values.redis.existingSecret }}
        - name: MOORING_REDIS_URL
          valueFrom:
            secretKeyRef:
              name: {{ $root.Values.redis.existingSecret }}
              key: {{ $root.Values.redis.existingSecretKey }}
        {{- end }}
        {{- range $root.Values.keys.list }}
        - name: {{ include "mooring.keyVariable" .name }}
          valueFrom:
            secretKeyRef:
              name: {{ include "mooring.keysSecret" $root }}
              key: {{ .name }}
        {{- end }}
        {{- end }}
        {{- with .values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      lifecycle:
        preStop:
          # SIGTERM comes when the Service has stopped to send new connections here.
          exec:
            command: ["sleep", "3"]
      livenessProbe:
        httpGet:
          path: /livez
          port: http
          {{- if $tls }}
          scheme: HTTPS
          {{- end }}
        periodSeconds: 10
        timeoutSeconds: 3
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
          {{- if $tls }}
          scheme: HTTPS
          {{- end }}
        periodSeconds: 5
        timeoutSeconds: 3
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: ["ALL"]
      volumeMounts:
        - name: settings
          mountPath: /app/mcp_settings.json
          subPath: mcp_settings.json
          readOnly: true
        - name: data
          mountPath: /app/data
        - name: tmp
          mountPath: /tmp
        {{- if $tls }}
        # Not by subPath: a renewed certificate would not arrive.
        - name: tls
          mountPath: /app/tls
          readOnly: true
        {{- end }}
        {{- if $root.Values.cluster.tls.enabled }}
        - name: cluster-tls
          mountPath: /app/cluster-tls
          readOnly: true
        {{- end }}
  volumes:
    - name: settings
      configMap:
        name: {{ include "mooring.name" $root }}-{{ .component }}
    # The gateway's data folder, and the home of its servers: what npx and uvx download.
    - name: data
      emptyDir:
        sizeLimit: {{ .values.dataSize }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ .values.tmpSize }}
    {{- if $tls }}
    - name: tls
      secret:
        secretName: {{ $root.Values.tls.existingSecret }}
        defaultMode: 0440
    {{- end }}
    {{- with $root.Values.cluster.tls }}
    {{- if .enabled }}
    - name: cluster-tls
      secret:
        secretName: {{ ternary .coordinatorSecret .nodeSecret $.isCoordinator }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Rules of egress that every pod has. */}}
{{- define "mooring.names" -}}
# Names.
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{- define "mooring.public" -}}
# To every public address, for npm, PyPI and remote servers. Not to private ones, among them the
# rest of this cluster, and not to the metadata service of a cloud (169.254.169.254).
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
    - ipBlock:
        cidr: ::/0
        except: ["::1/128", "fc00::/7", "fe80::/10"]
{{- end -}}
