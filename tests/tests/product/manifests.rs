//! The files that run Mooring elsewhere: Docker Compose and Kubernetes. Neither is here, so the files
//! are parsed, and what must hold for every container is asserted of each.

use std::collections::BTreeMap;

use mooring_tests::settings;
use yaml_rust2::{Yaml, YamlLoader};

/// Seconds: `drainDeadline`, the good-bye, the lame duck with the last answers, and the servers' end.
const LONGEST_END: i64 = 25 + 2 + 1 + 6;

/// Bytes that a server in Node.js takes, at least.
const NODE_SERVER: i64 = 150_000_000;

fn documents(path: &str) -> Vec<Yaml> {
    let text = settings::example(path);
    YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The value with `<<` carried out, which the parser leaves to us.
fn merged(yaml: &Yaml) -> Yaml {
    let Some(members) = yaml.as_hash() else { return yaml.clone() };
    let mut all = yaml_rust2::yaml::Hash::new();
    if let Some(Yaml::Hash(base)) = members.get(&Yaml::String("<<".to_owned())) {
        all.extend(base.clone());
    }
    let own = members.iter().filter(|(name, _)| name.as_str() != Some("<<"));
    all.extend(own.map(|(name, value)| (name.clone(), merged(value))));
    Yaml::Hash(all)
}

fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("no text: {yaml:?}"))
}

fn texts(yaml: &Yaml) -> Vec<&str> {
    yaml.as_vec().unwrap_or_else(|| panic!("no list: {yaml:?}")).iter().map(text).collect()
}

/// Bytes of `512m`, `4G`, `6Gi`.
fn bytes(text: &str) -> i64 {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "m" => 1_000_000,
        "mi" => 1 << 20,
        "g" => 1_000_000_000,
        "gi" => 1 << 30,
        other => panic!("{text}: what is {other}?"),
    };
    digits.parse::<i64>().unwrap() * unit
}

/// `limits.childrenPerNode` of a settings file.
fn children(settings: &str) -> i64 {
    let limits = &settings::value_of(settings)["systemConfig"]["limits"];
    limits["childrenPerNode"].as_i64().expect("childrenPerNode")
}

/// The services of the compose file, by name.
fn services() -> BTreeMap<String, Yaml> {
    let compose = documents("docker-compose/docker-compose.yml").remove(0);
    let services = compose["services"].as_hash().unwrap();
    services.iter().map(|(name, service)| (text(name).to_owned(), merged(service))).collect()
}

#[test]
fn the_compose_file_mounts_files_that_exist_and_cannot_be_written() {
    let folder = settings::repository().join("examples/docker-compose");
    let services = services();
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        let volumes = texts(&service["volumes"]);
        let parts: Vec<&str> = volumes[0].split(':').collect();
        assert!(folder.join(parts[0]).is_file(), "{name}: {}", parts[0]);
        assert_eq!(parts[1..], ["/app/mcp_settings.json", "ro"], "{name}");
        assert!(volumes[1].ends_with(":/app/data"), "{name}");
    }
}

#[test]
fn each_compose_service_has_few_rights_and_limits_and_time_to_end() {
    for (name, service) in services() {
        assert_eq!(text(&service["restart"]), "unless-stopped", "{name}");
        let grace = text(&service["stop_grace_period"]).trim_end_matches('s').parse::<i64>();
        assert!(grace.unwrap() > LONGEST_END, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
        let tmpfs = texts(&service["tmpfs"])[0];
        assert!(tmpfs.starts_with("/tmp:") && tmpfs.contains("size="), "{name}: {tmpfs}");
        let limits = &service["deploy"]["resources"]["limits"];
        for limit in ["cpus", "memory", "pids"] {
            assert!(!limits[limit].is_badvalue(), "{name} has no limit of {limit}");
        }
        assert!(service["privileged"].is_badvalue() && service["cap_add"].is_badvalue(), "{name}");
    }
}

#[test]
fn compose_does_not_start_without_a_cluster_token() {
    for (name, service) in services() {
        let token = text(&service["environment"]["MOORING_CLUSTER_TOKEN"]);
        assert!(token.starts_with("${MOORING_CLUSTER_TOKEN:?"), "{name}: {token}");
        assert!(token.len() > "${MOORING_CLUSTER_TOKEN:?}".len(), "{name}: says nothing");
    }
}

#[test]
fn compose_publishes_ports_on_this_machine_only() {
    let mut published = 0;
    for (name, service) in services() {
        for port in service["ports"].as_vec().unwrap_or(&Vec::new()) {
            published += 1;
            assert!(text(port).starts_with("127.0.0.1:"), "{name}: {port:?}");
        }
    }
    assert_eq!(published, 1, "clients use the coordinator");
}

/// A process for each session would not fit into what a coordinator has.
#[test]
fn the_coordinator_of_compose_shares_its_servers() {
    let settings = settings::value_of(&settings::example("docker-compose/coordinator-config.json"));
    let servers = settings["mcpServers"].as_object().unwrap();
    assert!(servers.values().all(|server| server["isolation"] == "shared"), "{servers:?}");
}

#[test]
fn the_nodes_of_compose_have_memory_for_their_servers() {
    for (name, service) in services().iter().filter(|(name, _)| name.starts_with("node")) {
        let file = texts(&service["volumes"])[0].split(':').next().unwrap();
        let children = children(&settings::example(&format!("docker-compose/{file}")));
        let memory = bytes(text(&service["deploy"]["resources"]["limits"]["memory"]));
        assert!(children * NODE_SERVER < memory, "{name}: {children} servers in {memory} bytes");
    }
}

/// All objects of the Kubernetes example, with the file that they stand in.
fn objects() -> Vec<(&'static str, Yaml)> {
    let files = ["kubernetes/coordinator.yaml", "kubernetes/nodes.yaml"];
    let all = files
        .into_iter()
        .flat_map(|file| documents(file).into_iter().map(move |document| (file, document)));
    all.collect()
}

fn of_kind(kind: &str) -> Vec<Yaml> {
    let all = objects().into_iter().map(|(_, object)| object);
    all.filter(|object| object["kind"].as_str() == Some(kind)).collect()
}

fn name(object: &Yaml) -> &str {
    text(&object["metadata"]["name"])
}

/// The deployments with their pods' specifications.
fn pods() -> Vec<(Yaml, Yaml)> {
    let pods: Vec<_> = of_kind("Deployment")
        .into_iter()
        .map(|deployment| {
            let pod = deployment["spec"]["template"]["spec"].clone();
            (deployment, pod)
        })
        .collect();
    assert_eq!(pods.len(), 2);
    pods
}

#[test]
fn manifests_mount_settings_and_data_where_the_image_has_them() {
    for (file, deployment) in objects() {
        if deployment["kind"].as_str() != Some("Deployment") {
            continue;
        }
        let pod = &deployment["spec"]["template"]["spec"];
        let mounts = pod["containers"][0]["volumeMounts"].as_vec().unwrap();
        let paths: Vec<_> = mounts.iter().map(|mount| text(&mount["mountPath"])).collect();
        assert_eq!(paths, ["/app/mcp_settings.json", "/app/data", "/tmp"]);
        assert_eq!(text(&mounts[0]["subPath"]), "mcp_settings.json");
        let map = text(&pod["volumes"][0]["configMap"]["name"]);
        let is_it =
            |object: &Yaml| object["kind"].as_str() == Some("ConfigMap") && name(object) == map;
        assert!(documents(file).iter().any(is_it), "no ConfigMap {map} in {file}");
    }
}

#[test]
fn pods_have_no_right_that_they_do_not_need() {
    for (deployment, pod) in pods() {
        let of = name(&deployment);
        assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false), "{of}");
        assert_eq!(pod["enableServiceLinks"].as_bool(), Some(false), "{of}");
        let all = &pod["securityContext"];
        assert_eq!(all["runAsNonRoot"].as_bool(), Some(true), "{of}");
        assert_eq!(all["runAsUser"].as_i64(), Some(10001), "{of}: the image's user");
        assert_eq!(text(&all["seccompProfile"]["type"]), "RuntimeDefault", "{of}");
        let own = &pod["containers"][0]["securityContext"];
        assert_eq!(own["allowPrivilegeEscalation"].as_bool(), Some(false), "{of}");
        assert_eq!(own["readOnlyRootFilesystem"].as_bool(), Some(true), "{of}");
        assert_eq!(texts(&own["capabilities"]["drop"]), ["ALL"], "{of}");
        for wide in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[wide].is_badvalue(), "{of}: {wide}");
        }
    }
}

#[test]
fn pods_ask_for_what_they_need_and_have_limits() {
    for (deployment, pod) in pods() {
        let resources = &pod["containers"][0]["resources"];
        for kind in ["requests", "limits"] {
            for what in ["cpu", "memory", "ephemeral-storage"] {
                let of = name(&deployment);
                assert!(!resources[kind][what].is_badvalue(), "{of}: {kind} of {what}");
            }
        }
    }
}

#[test]
fn what_pods_write_has_a_size_and_fits_their_limit() {
    for (deployment, pod) in pods() {
        let of = name(&deployment);
        let volumes = pod["volumes"].as_vec().unwrap();
        let written = volumes.iter().filter(|volume| volume["configMap"].is_badvalue());
        let sizes = written.map(|volume| bytes(text(&volume["emptyDir"]["sizeLimit"])));
        let limits = &pod["containers"][0]["resources"]["limits"];
        assert!(sizes.sum::<i64>() <= bytes(text(&limits["ephemeral-storage"])), "{of}");
    }
}

#[test]
fn nodes_have_memory_for_their_servers() {
    let maps = of_kind("ConfigMap");
    let map = maps.iter().find(|map| name(map).contains("node")).unwrap();
    let children = children(text(&map["data"]["mcp_settings.json"]));
    let (_, pod) =
        pods().into_iter().find(|(deployment, _)| name(deployment).contains("node")).unwrap();
    let memory = bytes(text(&pod["containers"][0]["resources"]["limits"]["memory"]));
    assert!(children * NODE_SERVER < memory, "{children} servers in {memory} bytes");
}

#[test]
fn pods_have_time_to_end_and_only_one_coordinator_at_a_time() {
    for (deployment, pod) in pods() {
        let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
        let pre_stop = &pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"];
        let [program, seconds] = texts(pre_stop)[..] else { panic!("{pre_stop:?}") };
        assert_eq!(program, "sleep");
        let pre_stop: i64 = seconds.parse().unwrap();
        assert!(pre_stop > 0 && grace > pre_stop + LONGEST_END, "{}", name(&deployment));
        let spec = &deployment["spec"];
        match name(&deployment).contains("coordinator") {
            true => {
                assert_eq!(spec["replicas"].as_i64(), Some(1));
                assert_eq!(text(&spec["strategy"]["type"]), "Recreate");
            }
            false => {
                let rolling = &spec["strategy"]["rollingUpdate"];
                assert_eq!(rolling["maxUnavailable"].as_i64(), Some(1));
            }
        }
    }
}

#[test]
fn nodes_are_spread_and_evicted_one_by_one() {
    let (deployment, pod) =
        pods().into_iter().find(|(deployment, _)| name(deployment).contains("node")).unwrap();
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let spread = &pod["topologySpreadConstraints"][0];
    assert_eq!(text(&spread["topologyKey"]), "kubernetes.io/hostname");
    assert_eq!(&spread["labelSelector"]["matchLabels"], labels);
    let budgets = of_kind("PodDisruptionBudget");
    assert_eq!(budgets.len(), 1, "one of the coordinator would only block a drain");
    assert_eq!(&budgets[0]["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(budgets[0]["spec"]["maxUnavailable"].as_i64(), Some(1));
}

#[test]
fn nobody_outside_the_cluster_reaches_it_by_default() {
    let services = of_kind("Service");
    assert!(!services.is_empty());
    for service in services {
        assert_eq!(text(&service["spec"]["type"]), "ClusterIP");
    }
}

/// A policy for each deployment, which names whom it lets in, and lets nothing out to private
/// addresses, where the cluster's own interfaces and a cloud's metadata are.
#[test]
fn a_network_policy_stands_around_each_deployment() {
    let policies = of_kind("NetworkPolicy");
    for (deployment, _) in pods() {
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let around = |policy: &&Yaml| &policy["spec"]["podSelector"]["matchLabels"] == labels;
        let policy = policies.iter().find(around).expect("a policy");
        let spec = &policy["spec"];
        assert_eq!(texts(&spec["policyTypes"]), ["Ingress", "Egress"]);
        for rule in spec["ingress"].as_vec().unwrap() {
            assert!(!rule["from"].as_vec().unwrap().is_empty(), "everybody: {rule:?}");
            assert_eq!(rule["ports"][0]["port"].as_i64(), Some(3000));
        }
        for rule in spec["egress"].as_vec().unwrap() {
            for to in rule["to"].as_vec().unwrap_or(&Vec::new()) {
                let block = &to["ipBlock"];
                if block["cidr"].as_str() == Some("0.0.0.0/0") {
                    let except = texts(&block["except"]);
                    for private in
                        ["10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
                    {
                        assert!(except.contains(&private), "{private}: {except:?}");
                    }
                }
            }
        }
    }
}

/// Both secrets come from a Secret without which the pod does not start.
#[test]
fn pods_wait_for_their_token() {
    for (deployment, pod) in pods() {
        let env = pod["containers"][0]["env"].as_vec().unwrap();
        let token = env.iter().find(|one| text(&one["name"]) == "MOORING_CLUSTER_TOKEN");
        let from = &token.expect("a token")["valueFrom"]["secretKeyRef"];
        assert_eq!(text(&from["key"]), "token", "{}", name(&deployment));
        assert!(from["optional"].is_badvalue(), "{}", name(&deployment));
    }
}

#[test]
fn sizes_and_merges_are_read() {
    for (given, expect) in [("512m", 512_000_000), ("4G", 4_000_000_000), ("2Gi", 2 << 30)] {
        assert_eq!(bytes(given), expect);
    }
    let yaml =
        YamlLoader::load_from_str("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}").unwrap().remove(0);
    let b = merged(&yaml["b"]);
    assert_eq!((b["x"].as_i64(), b["y"].as_i64()), (Some(1), Some(3)));
}
