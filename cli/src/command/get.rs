//! `weft get`: shows the objects of the mesh and what is wrong with them.

use std::process::ExitCode;

use weft_proto::api::{GetRequest, GetResponse, Severity};

use super::{CommandError, CommandResult, Globals, NOT_FOUND, apply, ask};
use crate::output::{Colour, Format, Table, coloured, print};

/// Show objects, and what is wrong with them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft get                         all objects
  weft get virtualservices
  weft get vs reviews -o yaml
  weft get httproutes -A

Exit codes: 0 found; 4 not found.")]
pub struct Args {
    /// Kind as Kubernetes' users write it: virtualservice, vs, httproutes, svc …; all kinds when left out.
    kind: Option<String>,
    /// Name; all when left out.
    name: Option<String>,
    /// Namespace.
    #[arg(short, long, default_value = "default", conflicts_with = "all_namespaces")]
    namespace: String,
    /// All namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Form of the output; `yaml` gives the objects as they were written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Runs it.
///
/// # Errors
/// When the control plane cannot be asked, or does not know the kind.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let name = args.name.clone().unwrap_or_default();
    let request = GetRequest {
        kind: args.kind.unwrap_or_default(),
        name: name.clone(),
        namespace: if args.all_namespaces { String::new() } else { args.namespace },
    };
    let response = ask(globals, |mut mesh| async move { Ok(mesh.get(request).await?.into_inner()) })?;
    if response.objects.is_empty() && !name.is_empty() {
        return Err(CommandError::new(NOT_FOUND, format!("`{name}` was not found")));
    }
    match args.output {
        Format::Table => print(&table(&response))?,
        // The user's own text, comments included.
        Format::Yaml => {
            let documents: Vec<&str> = response.objects.iter().map(|object| object.yaml.trim_end()).collect();
            print(&format!("{}\n", documents.join("\n---\n")))?;
        }
        Format::Json => print(&Format::Json.render(&json(&response, !name.is_empty()), |_| String::new())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One object as itself, several as a Kubernetes `List`.
fn json(response: &GetResponse, named: bool) -> serde_json::Value {
    let parse = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    let mut items: Vec<serde_json::Value> = response.objects.iter().map(|object| parse(&object.json)).collect();
    if named && items.len() == 1 {
        return items.remove(0);
    }
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn table(response: &GetResponse) -> String {
    let mut table = Table::new(&["NAMESPACE", "KIND", "NAME", "GENERATION", "FROM", "FINDINGS"]);
    let mut findings = String::new();
    for stored in &response.objects {
        let object = stored.object.clone().unwrap_or_default();
        let errors = stored.findings.iter().filter(|f| f.severity() == Severity::Error).count();
        let warnings = stored.findings.iter().filter(|f| f.severity() == Severity::Warning).count();
        let state = match (errors, warnings) {
            (0, 0) => coloured(Colour::Green, "none"),
            (0, n) => coloured(Colour::Yellow, &format!("{n} warning{}", if n == 1 { "" } else { "s" })),
            (n, _) => coloured(Colour::Red, &format!("{n} error{}", if n == 1 { "" } else { "s" })),
        };
        table.row([object.namespace, object.kind, object.name, stored.generation.to_string(), stored.origin.clone(), state]);
        findings.extend(stored.findings.iter().map(apply::finding));
    }
    findings.extend(response.findings.iter().map(apply::finding));
    if table.is_empty() && findings.is_empty() {
        return "no objects\n".to_owned();
    }
    let gap = if findings.is_empty() { "" } else { "\n" };
    format!("{}{gap}{findings}", table.render())
}
