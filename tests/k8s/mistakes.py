"""Deliberate mistakes, each of which a real API server with KServe must refuse, and words of the refusal.

A mistake is a change to an object that is accepted without it: code on the object `m`, its pod `p` and that pod's
first container `c`. Named is the object (KIND/NAME of user01's overlay, of its ServingRuntime variant, or of
monitoring; POD/NAME is the pod of a Deployment). By whom: the administrator, unless said.
"""
USER01 = ("user01", ["kubeflow-user01"])
DEPLOYER = ("deployer", ["ridged-deployers"])


def account(namespace, name):
    return f"system:serviceaccount:{namespace}:{name}", [
        "system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]


ISVC = "InferenceService/california-housing"
RUNTIME = "ServingRuntime/ridged"
POD = "Pod/california-housing-predictor"
POLICY = "NetworkPolicy/prometheus"
BUDGET = "PodDisruptionBudget/california-housing"
RESTRICTED = 'violates PodSecurity "restricted:'

MISTAKES = [
    # KServe's schema
    (ISVC, "p['minReplica'] = 1", "field not declared in schema"),
    (ISVC, "c['port'] = []", "field not declared in schema"),
    (ISVC, "m['apiVersion'] = 'serving.kserve.io/v1'", "404 page not found"),
    (ISVC, "c['ports'][0]['containerPort'] = '8080'", "expected numeric"),
    (ISVC, "c['args'] = '--ui'", "expected list"),
    (ISVC, "m['spec']['canary'] = [{'trafficPercent': 110}]", "less than or equal to 100"),
    (ISVC, "c['ports'][1]['containerPort'] = 8080", "duplicate entries"),
    (ISVC, "c['env'].append(c['env'][0])", "duplicate entries"),
    (ISVC, "del m['spec']['predictor']", "denied the request"),
    (ISVC, "p['scaleMetric'] = 'requests'", "Unsupported value"),
    (ISVC, "c['resources']['limits']['memory'] = '512 MB'", "quantities must match"),
    (RUNTIME, "m['spec']['supportedModelFormats'][0].pop('name')", "name: Required value"),
    (RUNTIME, "m['spec'].pop('containers')", "containers: Required value"),
    # KServe's webhooks
    (ISVC, "p['minReplicas'] = -1", "MinReplicas"),
    (ISVC, "p['minReplicas'], p['maxReplicas'] = 3, 2", "MaxReplicas"),
    (ISVC, "m['metadata']['name'] = 'california.housing'", "regex"),
    (ISVC, "p['model'] = {'modelFormat': {'name': 'ridge'}}", "exactly one of"),
    (ISVC, "m['spec']['canary'] = [{'trafficPercent': 10, 'predictor': {'name': 'next', 'model': {'name': '', "
           "'modelFormat': {'name': 'ridge'}}}}]", "canary"),
    (ISVC, "m['metadata']['annotations']['serving.kserve.io/autoscalerClass'] = 'cpu'", "autoscaler"),
    (ISVC, "m['metadata']['annotations']['serving.kserve.io/deploymentMode'] = 'Knative'", "deploymentMode"),
    # the namespace and its fences
    ("Namespace/kubeflow-user01", "m['metadata']['labels']['pod-security.kubernetes.io/enforce'] = 'restrict'",
     "must be one of privileged, baseline, restricted"),
    ("Namespace/kubeflow-user01", "m['metadata']['labels']['user-id'] = 'user 01'", "a valid label must be"),
    (POLICY, "m['metadata']['namespace'] = 'kubeflow-user16'", 'namespaces "kubeflow-user16" not found'),
    (POLICY, "m['spec']['ingress'][0]['ports'][0]['port'] = 70000", "must be between 1 and 65535"),
    (POLICY, "m['spec']['ingress'][0]['ports'][0]['protocol'] = 'HTTP'", "Unsupported value"),
    (POLICY, "m['spec']['policyTypes'] = ['In']", "Unsupported value"),
    (POLICY, "m['spec']['ingress'][0]['form'] = []", "field not declared in schema"),
    (BUDGET, "m['spec']['selector'] = ['california-housing']", "expected map"),
    (BUDGET, "m['spec']['maxUnavailable'] = 'half'", "a valid percent"),
    (BUDGET, "m['spec']['minAvailable'] = 1", "cannot be both set"),
    ("Role/ridged-user", "m['rules'][0]['verbs'] = []", "verbs: Required value"),
    ("RoleBinding/ridged-user", "m['roleRef']['name'] = 'ridged-deployer'", "cannot change roleRef"),
    ("PersistentVolumeClaim/california-housing-feedback", "m['spec']['resources']['requests']['storage'] = '2 Gi'",
     "quantities must match"),
    ("PersistentVolumeClaim/california-housing-feedback", "m['spec']['accessModes'] = ['ReadWriteMany']",
     "spec is immutable"),
    # monitoring
    ("StatefulSet/prometheus", "m['spec']['serviceName'] = 'other'", "Forbidden: updates to statefulset spec"),
    ("StatefulSet/prometheus", "c['volumeMounts'][0]['name'] = 'konfig'", 'Not found: "konfig"'),
    ("Deployment/grafana", "m['spec']['template']['metadata']['labels'] = {'a': 'b'}", "does not match template"),
    ("Deployment/grafana", "c['readinessProbe']['tcpSocket'] = {'port': 3000}", "may not specify more than 1 handler"),
    ("CronJob/grafana-accounts", "m['spec']['schedule'] = 'every 15 minutes'", "schedule: Invalid value"),
    ("CronJob/grafana-accounts", "p['restartPolicy'] = 'Always'", "restartPolicy"),
    ("Service/tenant-proxy", "m['spec']['ports'][1]['name'] = 'operators'", "Duplicate value"),
    ("Service/tenant-proxy", "m['spec']['ports'][0]['port'] = 0", "must be between 1 and 65535"),
    ("Secret/grafana-user01", "m['data'] = {'password': 'not base64'}", "base64"),
    # the restricted profile
    (POD, "c['securityContext']['privileged'] = True", "privileged"),
    (POD, "c['securityContext']['allowPrivilegeEscalation'] = True", RESTRICTED + "|allowPrivilegeEscalation != false"),
    (POD, "c['securityContext']['runAsUser'] = 0", RESTRICTED + "|runAsUser=0"),
    (POD, "p['securityContext']['runAsNonRoot'] = False", RESTRICTED + "|runAsNonRoot != true"),
    (POD, "p['securityContext'].pop('seccompProfile')", RESTRICTED + "|seccompProfile"),
    (POD, "c['securityContext']['capabilities'] = {'add': ['NET_ADMIN']}", RESTRICTED + "|unrestricted capabilities"),
    (POD, "p['hostNetwork'] = True", RESTRICTED + "|hostNetwork=true"),
    (POD, "p['hostPID'] = True", RESTRICTED + "|hostPID=true"),
    (POD, "p['volumes'].append({'name': 'h', 'hostPath': {'path': '/'}})", RESTRICTED + "|hostPath"),
    (POD, "c['ports'][0]['hostPort'] = 8080", RESTRICTED + "|hostPort"),
    (POD, "c['livenessProbe']['httpGet']['host'] = '169.254.169.254'", RESTRICTED + "|probe or lifecycle host"),
    (POD, "p['initContainers'] = [{'name': 'i', 'image': 'i'}]", RESTRICTED + "|container \"i\""),
    # rights
    (ISVC, "m['metadata']['namespace'] = 'kubeflow-user02'", "forbidden", USER01),
    (ISVC, "c['image'] = 'other'", "forbidden", USER01),
    (POD, "pass", "forbidden", USER01),
    (POD, "pass", "forbidden", DEPLOYER),
    (POLICY, "m['spec']['ingress'] = [{}]", "forbidden", DEPLOYER),
    ("Namespace/kubeflow-user01", "m['metadata']['labels']['pod-security.kubernetes.io/enforce'] = 'privileged'",
     "forbidden", DEPLOYER),
    ("RoleBinding/ridged-deployer", "m['subjects'].append(dict(m['subjects'][0], name='others'))", "forbidden",
     DEPLOYER),
    ("Deployment/ridge-relay", "c['image'] = 'other'", "forbidden", DEPLOYER),
    ("Secret/grafana-user01", "m['metadata']['name'] = 'grafana-admin'", "forbidden",
     account("monitoring", "grafana-accounts")),
    ("Secret/grafana-user01", "m['metadata']['namespace'] = 'kubeflow-user01'", "forbidden",
     account("monitoring", "grafana-accounts")),
    ("ConfigMap/prometheus", "m['data'] = {}", "forbidden", account("monitoring", "prometheus")),
]
