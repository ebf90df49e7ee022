#!/bin/sh
# Writes what k8s/monitoring has once per user of k8s/users into k8s/monitoring/tenants, or the folder that is
# named. `make lint` fails if what is committed is not what this writes.
#
#   k8s/monitoring.sh [FOLDER]
#
# userNN's door to Prometheus is port 90NN of the pod tenant-proxy. 9000 is the operators', who see every user's
# namespace and nothing else. There is one pod, not one per user: only Grafana may reach any of the doors and it
# must reach them all, so sixteen pods would be sixteen addresses without one more border. But there is one
# process per user, whose namespace stands in its arguments: no byte of a request can choose it.
set -eu

here=$(dirname "$0")
out=${1:-$here/monitoring/tenants}
users=$here/users
mkdir -p "$out"

# number USER: user07 is 07.
number() {
    case "$1" in
    user[0-9][0-9]) echo "${1#user}" ;;
    *) echo "$users: expected userNN, got $1" >&2; exit 1 ;;
    esac
}

nginx() {
    cat <<'END'
# Written by k8s/monitoring.sh.
#
# Stands before the proxies, because prom-label-proxy 0.14 rewrites of a GET only the URL, and Prometheus also
# reads the body if its type is multipart/form-data: GET /api/v1/label/x/values with such a body names the values
# of every tenant. Here no header of a client's passes, the type is always the one whose body a GET ignores and
# whose body of a POST the proxies rewrite, and only the paths that Grafana needs are open.
pid /tmp/nginx.pid;
daemon off;
error_log stderr warn;
worker_processes 1;
events {
    worker_connections 1024;
}
http {
    access_log off;
    server_tokens off;
    client_max_body_size 1m;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;

    # The port at which a request came in says whose it is. One that is not listed has no proxy.
    map $server_port $proxy {
        9000 127.0.0.1:19000;
END
    while read -r user; do
        n=$(number "$user")
        echo "        90$n 127.0.0.1:190$n;"
    done <"$users"
    cat <<'END'
    }
    server {
        listen 9000;
END
    while read -r user; do
        echo "        listen 90$(number "$user");"
    done <"$users"
    cat <<'END'

        proxy_http_version 1.1;
        proxy_pass_request_headers off;
        proxy_set_header Content-Type application/x-www-form-urlencoded;
        proxy_set_header Accept-Encoding $http_accept_encoding;

        # $uri, not what the client wrote: what was looked at is what is asked.
        location ~ ^/api/v1/(query|query_range|query_exemplars|series|labels|label/[A-Za-z_][A-Za-z0-9_]*/values)$ {
            limit_except GET POST {
                deny all;
            }
            proxy_pass http://$proxy$uri$is_args$args;
        }
        location = /healthz {
            proxy_pass http://$proxy$uri;
        }
        location / {
            return 404;
        }
    }
}
END
}

# proxy NAME NUMBER ARGUMENT...: one container.
proxy() {
    cat <<END
        - name: $1
          image: quay.io/prometheuscommunity/prom-label-proxy:v0.14.0
          args:
            - -insecure-listen-address=127.0.0.1:190$2
            - -upstream=http://prometheus.monitoring.svc:9090
            - -enable-label-apis
            - -label=namespace
END
    n=$2
    shift 2
    for argument; do echo "            - $argument"; done
    cat <<END
          livenessProbe: # by way of nginx: the proxy itself has no address
            httpGet: {path: /healthz, port: 90$n}
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /healthz, port: 90$n}
          resources:
            requests: {cpu: 5m, memory: 24Mi}
            limits: {cpu: 500m, memory: 128Mi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
END
}

tenant_proxy() {
    cat <<'END'
# Written by k8s/monitoring.sh.
apiVersion: v1
kind: Service
metadata:
  name: tenant-proxy
  labels:
    app.kubernetes.io/name: tenant-proxy
spec:
  selector:
    app.kubernetes.io/name: tenant-proxy
  # All doors are in one pod: one that is shut must not shut the others.
  publishNotReadyAddresses: true
  ports:
    - {name: operators, port: 9000, targetPort: 9000}
END
    while read -r user; do
        n=$(number "$user")
        echo "    - {name: $user, port: 90$n, targetPort: 90$n}"
    done <"$users"
    cat <<'END'
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: tenant-proxy
  labels:
    app.kubernetes.io/name: tenant-proxy
spec:
  replicas: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: tenant-proxy
  template:
    metadata:
      labels:
        app.kubernetes.io/name: tenant-proxy
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: nginx
          image: docker.io/nginxinc/nginx-unprivileged:1.29.4-alpine3.23
          command: [nginx, -e, stderr, -c, /etc/tenant-proxy/nginx.conf]
          ports:
            - {name: operators, containerPort: 9000}
END
    while read -r user; do
        echo "            - {name: $user, containerPort: 90$(number "$user")}"
    done <"$users"
    cat <<'END'
          volumeMounts:
            - {name: config, mountPath: /etc/tenant-proxy, readOnly: true}
            - {name: tmp, mountPath: /tmp}
          livenessProbe:
            tcpSocket: {port: operators}
          readinessProbe:
            tcpSocket: {port: operators}
          resources:
            requests: {cpu: 10m, memory: 16Mi}
            limits: {cpu: 500m, memory: 128Mi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
END
    proxy operators 00 "-label-value=kubeflow-($(paste -sd '|' "$users"))" -regex-match
    while read -r user; do
        proxy "$user" "$(number "$user")" "-label-value=kubeflow-$user"
    done <"$users"
    cat <<'END'
      volumes:
        - name: config
          configMap:
            name: tenant-proxy
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
END
}

accounts() {
    cat <<'END'
# Written by k8s/monitoring.sh. Empty until grafana-accounts has put a password in. To change a password,
# change it here in the cluster: the next run gives it to Grafana.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: grafana-accounts
rules:
  - apiGroups: [""]
    resources: [secrets]
    verbs: [get, patch]
    resourceNames:
END
    sed 's/^/      - grafana-/' "$users"
    while read -r user; do
        cat <<END
---
apiVersion: v1
kind: Secret
metadata:
  name: grafana-$user
  labels:
    user-id: $user
type: Opaque
END
    done <"$users"
}

cp "$users" "$out/users"
nginx >"$out/nginx.conf"
tenant_proxy >"$out/tenant-proxy.yaml"
accounts >"$out/accounts.yaml"
