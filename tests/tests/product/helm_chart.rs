//! The chart of Helm: rendered by Helm itself with several sets of values, judged by the schemas of
//! Kubernetes, and its settings by the gateway. Skipped by name where Helm is not at hand.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use mooring_tests::{Authority, Certificate, Setup, borrowed, settings};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// Sets of values, each with what it turns on.
const SETS: [(&str, &str); 6] = [
    ("the defaults", "{}"),
    (
        "a coordinator alone with servers of its own",
        "nodes: {default: null}\ncoordinator: {servers: {counter: {command: mooring-example-counter}}}",
    ),
    (
        "two coordinators with Redis, and an ingress",
        "coordinator: {replicas: 2}\nredis: {existingSecret: redis-url}\ningress: {enabled: true, className: nginx, hosts: [mcp.example.com], tlsSecret: mcp-tls}",
    ),
    (
        "keys, TLS and two pools of nodes",
        "keys: {list: [{name: admin, accessType: all}, {name: desk-2, accessType: servers, allowedServers: [counter]}]}\ntls: {enabled: true, existingSecret: mooring-tls}\ncluster: {existingSecret: mine}\nnodes:\n  default: {servers: {counter: {command: mooring-example-counter}}}\n  large: {replicas: 1, nodeSelector: {size: large}, tolerations: [{key: large, operator: Exists}], settings: {systemConfig: {limits: {childrenPerNode: 100}}}}",
    ),
    (
        "TLS between coordinators and nodes",
        "cluster: {tls: {enabled: true, coordinatorSecret: of-coordinator, nodeSecret: of-nodes}}\nnodes:\n  default: {servers: {counter: {command: mooring-example-counter}}}",
    ),
    (
        "what watches over it",
        "serviceMonitor: {enabled: true, labels: {release: prometheus}}\nprometheusRule: {enabled: true}\ngrafanaDashboard: {enabled: true}\nnetworkPolicy: {metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}",
    ),
];

fn chart() -> String {
    settings::repository().join("packaging/helm/mooring").to_str().unwrap().to_owned()
}

/// Runs Helm with values on stdin.
fn helm(words: &[&str], values: &str) -> Output {
    let mut helm = Command::new(borrowed::starter("helm"))
        .args(words)
        .args(["--values", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    helm.stdin.take().unwrap().write_all(values.as_bytes()).unwrap();
    helm.wait_with_output().unwrap()
}

fn rendered(values: &str) -> String {
    let output = helm(&["template", "r", &chart()], values);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{values}\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn objects(values: &str) -> Vec<Yaml> {
    let all = YamlLoader::load_from_str(&rendered(values)).unwrap();
    all.into_iter().filter(|object| !object.is_null()).collect()
}

fn of_kind<'a>(objects: &'a [Yaml], kind: &str) -> Vec<&'a Yaml> {
    objects.iter().filter(|object| object["kind"].as_str() == Some(kind)).collect()
}

fn name(object: &Yaml) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

/// The settings file of a ConfigMap.
fn settings_of<'a>(objects: &'a [Yaml], map: &str) -> &'a str {
    let maps = of_kind(objects, "ConfigMap");
    let map = maps.into_iter().find(|found| name(found) == map).unwrap_or_else(|| panic!("{map}"));
    map["data"]["mcp_settings.json"].as_str().expect("settings")
}

#[test]
fn helm_finds_no_fault_in_the_chart() {
    if !borrowed::at_hand("the lint of the chart", &["helm_runs"]) {
        return;
    }
    for (what, values) in SETS {
        let output = helm(&["lint", "--strict", &chart()], values);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{what}: {said}");
    }
}

#[test]
fn kubernetes_schemas_take_every_object() {
    if !borrowed::at_hand("the schemas of Kubernetes", &["helm_runs", "kubernetes_validate"]) {
        return;
    }
    let judge = |text: &str| -> Value {
        let script = settings::repository().join("tests/witness/py/kubernetes.py");
        let mut judge = Command::new(borrowed::starter("python-kubernetes_validate"))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        judge.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        serde_json::from_slice(&judge.wait_with_output().unwrap().stdout).expect("its findings")
    };
    for (what, values) in SETS {
        let found = judge(&rendered(values));
        assert_eq!(found["wrong"], serde_json::json!([]), "{what}");
        assert!(found["judged"].as_u64().unwrap() >= 5, "{what}: {found}");
        // Those of the Prometheus operator are not Kubernetes' own.
        for kind in found["unknown"].as_array().unwrap() {
            assert!(["ServiceMonitor", "PrometheusRule"].contains(&kind.as_str().unwrap()));
        }
    }
    let wrong = rendered("{}").replace("containerPort: 3000", "containerPort: many");
    assert_ne!(judge(&wrong)["wrong"], serde_json::json!([]), "it tells what is wrong");
}

#[test]
fn the_settings_of_every_pod_pass_mooring_check() {
    if !borrowed::at_hand("the settings of the chart", &["helm_runs"]) {
        return;
    }
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    let of_cluster = ["mooring:coordinator", "mooring:node:*"].map(|uri| authority.certify(uri));
    for (what, values) in SETS {
        let objects = objects(values);
        for map in of_kind(&objects, "ConfigMap") {
            let Some(text) = map["data"]["mcp_settings.json"].as_str() else { continue };
            // The files of this machine in the place of the mounted ones.
            let text = text.replace("/app/tls/tls.crt", certificate.cert.to_str().unwrap());
            let text = text.replace("/app/tls/tls.key", certificate.key.to_str().unwrap());
            let own = &of_cluster[usize::from(!name(map).ends_with("-coordinator"))];
            let text = text.replace("/app/cluster-tls/ca.crt", authority.ca.to_str().unwrap());
            let text = text.replace("/app/cluster-tls/tls.crt", own.cert.to_str().unwrap());
            let text = text.replace("/app/cluster-tls/tls.key", own.key.to_str().unwrap());
            let checked = Setup::text(&text)
                .env("MOORING_CLUSTER_TOKEN", "a-token-of-at-least-16-bytes")
                .env("MOORING_BEARER_ADMIN", "a-long-random-key-of-the-admin")
                .env("MOORING_BEARER_DESK_2", "another-long-random-key")
                .run(&["check"]);
            let errors = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{what}: {}: {errors}\n{text}", name(map));
            // A pool of nodes without servers is only an example.
            let told = errors.lines().filter(|line| {
                !line.contains(".command: PATH has no ") && !line.contains(": 0 servers:")
            });
            assert_eq!(told.count(), 0, "{what}: {}: {errors}", name(map));
        }
    }
}

#[test]
fn the_settings_of_the_chart_are_a_cluster() {
    if !borrowed::at_hand("a cluster of the chart", &["helm_runs"]) {
        return;
    }
    let objects = objects("{}");
    let coordinator = settings_of(&objects, "r-coordinator");
    let nodes = vec![settings_of(&objects, "r-node-default").to_owned(); 2];
    super::deployment::containers_are_a_cluster(coordinator, &nodes, "http://r-coordinator:3000");
}

#[test]
fn pods_have_few_rights_and_time_to_end() {
    if !borrowed::at_hand("the pods of the chart", &["helm_runs"]) {
        return;
    }
    for (what, values) in SETS {
        let objects = objects(values);
        let deployments = of_kind(&objects, "Deployment");
        assert!(!deployments.is_empty(), "{what}");
        for deployment in deployments {
            let of = format!("{what}: {}", name(deployment));
            let pod = &deployment["spec"]["template"]["spec"];
            assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false), "{of}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true), "{of}");
            // drainDeadline, the end of the servers, and the wait before.
            assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() > 25 + 9 + 3, "{of}");
            let container = &pod["containers"][0];
            let own = &container["securityContext"];
            assert_eq!(own["allowPrivilegeEscalation"].as_bool(), Some(false), "{of}");
            assert_eq!(own["readOnlyRootFilesystem"].as_bool(), Some(true), "{of}");
            assert_eq!(own["capabilities"]["drop"][0].as_str(), Some("ALL"), "{of}");
            for kind in ["requests", "limits"] {
                for resource in ["cpu", "memory", "ephemeral-storage"] {
                    assert!(!container["resources"][kind][resource].is_badvalue(), "{of}: {kind}");
                }
            }
            // What selects its pods is what its pods have.
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            let selector = deployment["spec"]["selector"]["matchLabels"].as_hash().unwrap();
            for (label, value) in selector {
                assert_eq!(&labels[label.as_str().unwrap()], value, "{of}");
            }
        }
    }
}

/// A secret in a ConfigMap or in a pod's variables would be readable for many.
#[test]
fn secrets_are_in_secrets_alone() {
    if !borrowed::at_hand("the secrets of the chart", &["helm_runs"]) {
        return;
    }
    let (_, values) = SETS[3];
    let objects = objects(&format!("{values}\nredis: {{existingSecret: redis-url}}"));
    for deployment in of_kind(&objects, "Deployment") {
        let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_vec().unwrap();
        for variable in env {
            let name = variable["name"].as_str().unwrap();
            let is_plain = variable["valueFrom"]["secretKeyRef"]["name"].is_badvalue();
            assert_eq!(is_plain, name == "MOORING_DATA", "{name}");
        }
    }
    let settings = settings_of(&objects, "r-coordinator");
    assert!(settings.contains("${MOORING_BEARER_DESK_2}"), "{settings}");
    let keys = of_kind(&objects, "Secret").into_iter().find(|found| name(found) == "r-keys");
    let keys = keys.expect("generated keys")["data"].as_hash().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(!of_kind(&objects, "Secret").iter().any(|found| name(found) == "r-cluster"));
}

#[test]
fn coordinators_are_several_only_with_a_store_between_them() {
    if !borrowed::at_hand("the coordinators of the chart", &["helm_runs"]) {
        return;
    }
    let strategy = |values: &str| {
        let objects = objects(values);
        let found = of_kind(&objects, "Deployment")
            .into_iter()
            .find(|found| name(found) == "r-coordinator")
            .unwrap();
        found["spec"]["strategy"]["type"].as_str().unwrap().to_owned()
    };
    assert_eq!(strategy("{}"), "Recreate", "two would each know a part of the sessions");
    assert_eq!(strategy(SETS[2].1), "RollingUpdate");
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_installed() {
    if !borrowed::at_hand("the refusals of the chart", &["helm_runs"]) {
        return;
    }
    for (values, word) in [
        ("coordinator: {replicas: 2}", "needs redis.url"),
        (
            "coordinator: {servers: {a: {command: a}}}\nredis: {url: 'redis://r'}",
            "exclude each other",
        ),
        ("redis: {url: 'redis://r', existingSecret: a}", "exclude each other"),
        ("tls: {enabled: true}", "tls.existingSecret"),
        ("cluster: {tls: {enabled: true, nodeSecret: a}}", "cluster.tls.coordinatorSecret"),
        ("keys: {list: [{name: 'a b', accessType: all}]}", "letters, digits and hyphens"),
        ("keys: {list: [{name: a, accessType: all, token: secret-text}]}", "keys.existingSecret"),
        ("keys: {list: [{name: a-b, accessType: all}, {name: A-B, accessType: all}]}", "one name"),
        ("nodes: {Large_GPU: {}}", "lower-case letters"),
        ("nodes: {a-pool-with-a-name-that-is-too-long: {}}", "up to 16"),
        ("ingress: {enabled: true, hosts: []}", "ingress.hosts"),
    ] {
        let output = helm(&["template", "r", &chart()], values);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(word), "{values}: {errors}");
        assert!(!errors.contains("secret-text"), "{errors}");
    }
}

/// What clients and browsers of their users ask for is routed, and nothing that is for operators.
#[test]
fn the_ingress_routes_what_clients_and_their_users_need() {
    if !borrowed::at_hand("the ingress of the chart", &["helm_runs"]) {
        return;
    }
    let objects = objects(SETS[2].1);
    let ingress = of_kind(&objects, "Ingress")[0];
    let paths = ingress["spec"]["rules"][0]["http"]["paths"].as_vec().unwrap();
    let routed: Vec<&str> = paths.iter().map(|path| path["path"].as_str().unwrap()).collect();
    let listed = Setup::text("{}").run(&["routes"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let routes: Vec<Vec<&str>> =
        listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert!(routes.len() > 30, "{listed}");
    for route in routes {
        let (path, kind) = (route[1], route[2]);
        let is_routed = routed.iter().any(|prefix| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        assert_eq!(is_routed, ["client", "metadata", "login"].contains(&kind), "{route:?}");
    }
}

/// A standing rule of the network policies: nothing private but what is named.
#[test]
fn pods_reach_public_addresses_and_each_other() {
    if !borrowed::at_hand("the network policies of the chart", &["helm_runs"]) {
        return;
    }
    let objects = objects(SETS[2].1);
    let policies = of_kind(&objects, "NetworkPolicy");
    assert_eq!(policies.len(), 2);
    for policy in policies {
        for rule in policy["spec"]["egress"].as_vec().unwrap() {
            for to in rule["to"].as_vec().unwrap_or(&Vec::new()) {
                if to["ipBlock"]["cidr"].as_str() == Some("0.0.0.0/0") {
                    let except = to["ipBlock"]["except"].as_vec().unwrap();
                    assert!(except.contains(&Yaml::String("169.254.0.0/16".to_owned())));
                    assert!(except.contains(&Yaml::String("10.0.0.0/8".to_owned())));
                }
            }
        }
        for rule in policy["spec"]["ingress"].as_vec().unwrap() {
            assert!(!rule["from"].as_vec().unwrap().is_empty(), "everybody: {rule:?}");
        }
    }
}
