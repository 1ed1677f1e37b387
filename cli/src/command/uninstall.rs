//! `weft uninstall`.

use std::process::ExitCode;

use super::{CommandResult, Globals, NOT_FOUND, CommandError, block_on};
use crate::cluster::{Cluster, ClusterChoice};
use crate::install::remove::{self, Plan};
use crate::output::{Colour, coloured, say};

/// Take the control plane out of a Kubernetes cluster.
///
/// Only what `weft install` brought is deleted. The policies, their kinds, the certificate authority and the namespace
/// stay, so that a later installation goes on with them; --purge deletes them too.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft uninstall --dry-run
  weft uninstall
  weft uninstall --revision canary
  weft uninstall --purge --yes

Sidecars that run go on with their last configuration until their certificates end. Restart the pods of the namespaces
that were labelled, without the label, to take them out of the mesh.")]
pub struct Args {
    /// Only this control plane of several; that without a name is `default`.
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    /// Also delete the kinds of policies that were brought along, with every policy, the certificate authority and the
    /// namespace.
    #[arg(long, conflicts_with = "revision")]
    purge: bool,
    /// With --purge: do it. Without, what would go is only listed.
    #[arg(long, requires = "purge")]
    yes: bool,
    /// Only print what would be deleted.
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
///
/// # Errors
/// When nothing is installed, or the API server does not answer or refuses.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    block_on(async {
        let cluster = Cluster::connect(&ClusterChoice::of(globals)).await?;
        let revision = args.revision.as_deref().unwrap_or_default();
        let plan = remove::plan(&cluster, revision, args.purge).await?;
        if plan.is_empty() {
            let what = if revision.is_empty() { "nothing".to_owned() } else { format!("no revision `{revision}`") };
            return Err(CommandError::new(NOT_FOUND, format!("`weft install` brought {what} to context `{}`", cluster.context))
                .hint("what Helm installed, `helm uninstall` takes out"));
        }
        let only_listed = args.dry_run || (args.purge && !args.yes);
        if only_listed {
            list(&plan);
            say(if args.dry_run { "nothing was deleted" } else { "nothing was deleted; --yes does it" });
            return Ok(ExitCode::SUCCESS);
        }
        remove::carry_out(&cluster, &plan, |line| say(&coloured(Colour::Yellow, line))).await?;
        say(if args.purge { "nothing of Weft is left" } else { "policies, their kinds and the certificate authority stay; --purge deletes them" });
        Ok(ExitCode::SUCCESS)
    })
}

fn list(plan: &Plan) {
    for (kind, objects) in &plan.policies {
        for object in objects {
            say(&format!("{kind}/{} in {} would be deleted", object.1, object.0));
        }
    }
    for reference in &plan.objects {
        say(&format!("{reference} would be deleted"));
    }
}
