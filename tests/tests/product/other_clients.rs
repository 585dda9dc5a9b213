//! Files as other clients and MCPHub have them, read by `mooring check`: which servers would run,
//! and what is said of the rest.

use mooring_tests::Setup;

/// A file, and what `mooring check` makes of it.
struct Shape {
    what: &'static str,
    text: &'static str,
    env: &'static [(&'static str, &'static str)],
    code: i32,
    /// Servers with a transport.
    runs: &'static [&'static str],
    off: &'static [&'static str],
    misconfigured: &'static [&'static str],
    /// Words of each line of stderr, in its order.
    says: &'static [&'static [&'static str]],
}

const NONE: Shape = Shape {
    what: "",
    text: "{}",
    env: &[],
    code: 0,
    runs: &[],
    off: &[],
    misconfigured: &[],
    says: &[],
};

const SHAPES: &[Shape] = &[
    Shape {
        what: "a desktop client with an argument from its own env, and settings of its own",
        text: r#"{
  "mcpServers": {
    "bridge": {
      "command": "sh", "args": ["-c", "exec bridge", "--header", "X-Key:${BRIDGE_KEY}"],
      "env": { "BRIDGE_KEY": "s3cret" }
    },
    "plain": { "command": "sh" }
  },
  "theme": { "mode": "dark" },
  "shortcut": ""
}"#,
        runs: &["bridge", "plain"],
        says: &[&["theme", "is not a known key"]],
        ..NONE
    },
    Shape {
        what: "drives and programs of Windows",
        text: "\u{feff}{\r\n \"mcpServers\": {\r\n  \"Tool Box\": { \"command\": \"CMD.EXE\", \"args\": [\"/c\", \"npx\"] },\r\n  \"web\": { \"command\": \"sh\", \"args\": [\"E:\\\\srv\\\\index.js\"] }\r\n }\r\n}\r\n",
        runs: &["Tool Box", "web"],
        says: &[&["CMD.EXE", "program of Windows"], &["web", "E:", "drive of Windows"]],
        ..NONE
    },
    Shape {
        what: "programs, variables and folders of Windows",
        text: r#"{ "mcpServers": {
  "shim": { "command": "npx.cmd", "args": ["-y", "x"] },
  "roam": { "command": "sh", "args": ["%APPDATA%\\npm\\x"] },
  "data": { "command": "sh", "env": { "APPDATA": "C:\\Users\\ann\\AppData" } },
  "home": { "command": "sh", "cwd": "D:\\work" },
  "form": { "command": "sh", "args": ["date", "+%H%M%S", "100%", "%20TEMP%20"] }
} }"#,
        runs: &["shim", "roam", "data", "home", "form"],
        says: &[
            &["shim.command", "npx.cmd is a program of Windows", "the name that the program has"],
            &["roam", "%APPDATA% is a variable of Windows"],
            &["data", "C: is a drive of Windows"],
            &["home", "D: is a drive of Windows"],
        ],
        ..NONE
    },
    Shape {
        what: "a command with its arguments",
        text: r#"{ "mcpServers": { "a": { "command": "no-such-program -y x" } } }"#,
        runs: &["a"],
        says: &[&["a.command", "PATH has no \"no-such-program -y x\"", "into \"args\""]],
        ..NONE
    },
    Shape {
        what: "entries at the top level",
        text: r#"{ "sight": { "command": "sh", "args": ["-y"] }, "hearing": { "url": "https://h.example/mcp" } }"#,
        says: &[
            &["sight", "looks like a server", "mcpServers"],
            &["hearing", "looks like a server", "mcpServers"],
            &["0 servers", "\"sight\", \"hearing\"", "mcpServers"],
        ],
        ..NONE
    },
    Shape {
        what: "an editor's servers with inputs and folders",
        text: r#"{
  // an editor
  "inputs": [{ "id": "key", "type": "promptString", "password": true }],
  "servers": {
    "far": { "type": "http", "url": "https://h.example/mcp", "headers": { "X-Key": "${input:key}" } },
    "near": { "type": "stdio", "command": "sh", "args": ["${workspaceFolder}/run.sh"], "envFile": "x.env" },
    "fine": { "type": "stdio", "command": "sh" },
  }
}"#,
        runs: &["fine"],
        misconfigured: &["far", "near"],
        says: &[
            &["inputs", "other clients", "${NAME}"],
            &["servers.far", "${input:key}", "only other programs fill that in"],
            &["servers.near", "${workspaceFolder}", "only other programs fill that in"],
            &["servers.near.envFile", "other clients", ".env"],
        ],
        ..NONE
    },
    Shape {
        what: "env: in front of variables",
        text: r#"{ "mcpServers": {
  "a": { "command": "sh", "args": ["${env:TOKEN_A}"] },
  "b": { "url": "https://h.example/mcp", "headers": { "Authorization": "Bearer ${env:TOKEN_B}" } },
  "c": { "command": "sh", "env": { "X": "${secret:x}", "Y": "${TOKEN_C}", "Z": "${TOKEN_B}" } },
  "d": { "url": "https://h.example/o", "auth": { "CLIENT_ID": "${env:TOKEN_A}" } }
} }"#,
        env: &[("TOKEN_A", "s3cret")],
        runs: &["a", "d"],
        misconfigured: &["b", "c"],
        says: &[
            &["mcpServers.b", "variable TOKEN_B is not set"],
            &["mcpServers.c", "variables TOKEN_B, TOKEN_C are not set"],
            &["mcpServers.c", "${secret:…}"],
            &["mcpServers.d.auth", "other clients"],
        ],
        ..NONE
    },
    Shape {
        what: "what workflows, chats and other files fill in",
        text: r#"{ "mcpServers": {
  "flow": { "command": "sh", "env": { "KEY": "${{ secrets.KEY }}" } },
  "chat": { "url": "https://h.example/{{LIBRECHAT_USER_ID}}/mcp" },
  "code": { "command": "sh", "env": { "KEY": "{file:/no/such/key}" } },
  "form": { "command": "sh", "args": ["--format", "{{.Names}} {file:>9} ${{}}"] }
} }"#,
        runs: &["form"],
        misconfigured: &["flow", "chat", "code"],
        says: &[
            &["mcpServers.flow", "${{ secrets.KEY }}: only other programs fill that in"],
            &["mcpServers.chat", "{{LIBRECHAT_USER_ID}}: only other programs fill that in"],
            &["mcpServers.code", "${file:/no/such/key}"],
        ],
        ..NONE
    },
    Shape {
        what: "names with slashes, and what is off",
        text: r#"{ "mcpServers": {
  "example.com/tools/one": { "command": "sh", "disabled": false, "autoApprove": [] },
  "@scope/two": { "url": "https://h.example/mcp?key=s3cret", "type": "streamableHttp", "timeout": 30 },
  "three": { "command": "sh", "disabled": true, "timeout": 60 }
} }"#,
        runs: &["example.com/tools/one", "@scope/two"],
        off: &["three"],
        says: &[&["timeout", "seconds", "milliseconds", "1 more places"]],
        ..NONE
    },
    Shape {
        what: "addresses in other words",
        text: r#"{ "mcpServers": {
  "surf": { "serverUrl": "https://h.example/sse" },
  "twin": { "httpUrl": "https://h.example/mcp", "trust": true },
  "cherry": { "baseUrl": "https://h.example/sse", "type": "sse", "isActive": true },
  "old": { "url": "https://h.example/sse", "transport": "SSE" },
  "snake": { "server_url": "https://h.example/sse" },
  "loud": { "baseURL": "https://h.example/sse" },
  "end": { "endpoint": "https://h.example/mcp" }
}, "ide": { "seen": true } }"#,
        runs: &["surf", "twin", "cherry", "old", "snake", "loud", "end"],
        says: &[&["twin.trust", "clients decide"], &["ide", "is not a known key"]],
        ..NONE
    },
    Shape {
        what: "remarks",
        text: r#"{
  "_comment": "x", "$schema": "https://h.example/schema.json", "//": "y",
  "mcpServers": {
    "_how": "z", "// later": "z",
    "a": { "command": "sh", "_setup": ["x"], "description": "" },
    "b": { "command": "sh", "env": {}, "args": [], "alwaysAllow": [] }
  },
  "groups": []
}"#,
        runs: &["a", "b"],
        ..NONE
    },
    Shape {
        what: "one mistake in each entry but one",
        text: r#"{ "mcpServers": {
  "nothing": null,
  "text": "npx",
  "blank": { "command": " sh" },
  "comma": { "url": "https://h.example/mcp " },
  "zero": { "command": "sh", "timeout": 0 },
  "slow": { "command": "sh", "options": { "timeout": 0 } },
  "args": { "command": "sh", "args": "-y" },
  "typo": { "comand": "sh" },
  "kind": { "type": "websocket", "url": "wss://h.example" },
  "twice": { "command": "sh" },
  "twice": { "command": "sh", "args": ["x"] },
  "fine": { "command": "sh" }
} }"#,
        runs: &["fine"],
        misconfigured: &[
            "nothing", "text", "blank", "comma", "zero", "slow", "args", "typo", "kind", "twice",
        ],
        says: &[
            &["nothing", "must be an object, not null"],
            &["text", "must be an object, not a string"],
            &["blank.command", "spaces around it"],
            &["comma.url", "spaces around it"],
            &["zero.timeout", "seconds"],
            &["zero.timeout", "too small"],
            &["slow.options.timeout", "too small"],
            &["args.args", "must be a list"],
            &["typo", "neither a command nor a url", "did you mean \"command\""],
            &["typo.comand", "not a known key", "did you mean \"command\""],
            &["kind.type", "\"websocket\" is not a type of server"],
            &["twice", "given twice"],
        ],
        ..NONE
    },
    Shape {
        what: "keys of forks, in several servers",
        text: r#"{ "mcpServers": {
  "a": { "command": "sh", "title": "A", "category": "x", "description": "d" },
  "b": { "command": "sh", "title": "B", "category": "y", "description": "d" },
  "c": { "command": "${NOT_SET}", "enabled": false, "title": "C" }
}, "systemConfig": { "shields": { "enabled": false } } }"#,
        runs: &["a", "b"],
        off: &["c"],
        says: &[
            &["a.title", "is not a known key", "2 more places"],
            &["a.category", "is not a known key", "1 more places"],
            &["a.description", "MCPHub", "1 more places"],
            &["systemConfig.shields", "is not a known key"],
        ],
        ..NONE
    },
    Shape {
        what: "kinds that are not run",
        text: r#"{ "mcpServers": {
  "api": { "type": "openapi", "openapi": { "url": "${SPEC_URL}" }, "headers": { "A": "${NOT_SET}" } },
  "own": { "type": "builtin" },
  "a": { "command": "sh" }
} }"#,
        runs: &["a"],
        misconfigured: &["api", "own"],
        says: &[
            &["api", "openapi servers are not supported"],
            &["own", "builtin servers are not supported"],
        ],
        ..NONE
    },
    Shape {
        what: "a comment that is none",
        text: "# where it is\n{ \"mcpServers\": {} }",
        code: 2,
        says: &[&["mcp_settings.json:1:1:", "# begins no comment", "//"]],
        ..NONE
    },
    Shape {
        what: "a bracket in another's place",
        text: "{ \"mcpServers\": {\n  \"a\": { \"command\": \"sh\", \"args\": [\"x\", \"y\"} }\n}",
        code: 2,
        says: &[&["mcp_settings.json:2:44:", "} closes nothing here", "the [ of 2:35 is open"]],
        ..NONE
    },
    Shape {
        what: "the end is missing",
        text: "{ \"mcpServers\": {\n  \"a\": { \"command\": \"sh\" },\n  \"b\": { \"command\": \"sh\"\n",
        code: 2,
        says: &[&["mcp_settings.json:3:25:", "the file ends here", "the { of 3:8 is still open"]],
        ..NONE
    },
    Shape {
        what: "a strategy that is no file",
        text: "{ \"mcpServers\": { \"a\": { \"command\": \"sh\" } },\n \"systemConfig\": { \"cluster\": { \"stickySession\": { \"strategy\": \"no/such.wasm\" } } } }",
        code: 2,
        says: &[&[
            "mcp_settings.json:2:",
            "stickySession.strategy",
            "no/such.wasm",
            "No such file",
        ]],
        ..NONE
    },
];

#[test]
fn a_file_of_another_client_is_read_as_its_owner_meant_it() {
    for shape in SHAPES {
        let set = |setup: Setup, (name, value): &(&str, &str)| setup.env(name, value);
        let setup = shape.env.iter().fold(Setup::text(shape.text), set);
        let output = setup.run(&["check"]);
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        let all = format!("{}:\n{says}{page}", shape.what);
        assert_eq!(output.status.code(), Some(shape.code), "{all}");
        assert!(!all.contains("s3cret"), "{all}");
        let lines: Vec<&str> = says.lines().collect();
        assert_eq!(lines.len(), shape.says.len(), "{all}");
        for (line, words) in lines.iter().zip(shape.says) {
            for word in *words {
                assert!(line.contains(word), "{word:?} is not in {line:?}; {all}");
            }
        }
        if shape.code == 0 {
            let of_kind = |kinds: &[&str]| servers_of(&page, kinds);
            let runs = of_kind(&["stdio", "http", "sse", "http or sse"]);
            assert_eq!(runs, shape.runs, "{all}");
            assert_eq!(of_kind(&["off"]), shape.off, "{all}");
            assert_eq!(of_kind(&["broken"]), shape.misconfigured, "{all}");
            assert_eq!(page.matches("MISCONFIGURED: ").count(), shape.misconfigured.len(), "{all}");
        }
    }
}

/// The servers of these kinds, in the order of the page.
fn servers_of(page: &str, kinds: &[&str]) -> Vec<String> {
    let table = page.lines().skip_while(|line| !line.starts_with("SERVERS (")).skip(1);
    let rows = table.take_while(|line| line.starts_with("  "));
    rows.filter_map(|row| {
        let mut cells = row.trim().split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        let (name, kind) = (cells.next()?, cells.next()?);
        kinds.contains(&kind).then(|| name.to_owned())
    })
    .collect()
}
