//! `weft check`.

use std::process::ExitCode;

use super::{CommandError, CommandResult, FAILED, Globals, USAGE, block_on};
use crate::cluster::{Cluster, Target, target};
use crate::install::health::{self, Check, Level};
use crate::output::{Colour, FormatArgs, coloured, print};

/// Look whether a cluster's installation is well, and which pods are not in the mesh that should be.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  weft check\n  weft check --context production -o json\n\nExit codes: 0 well, or warnings only; 1 something does not work.")]
pub struct Args {
    #[command(flatten)]
    output: FormatArgs,
}

/// Names of a check that are printed; `-o json` has all.
const SHOWN: usize = 10;

/// Runs it.
///
/// # Errors
/// When the API server does not answer or refuses.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let Target::Cluster(choice) = target(globals)? else {
        return Err(CommandError::new(USAGE, "`weft check` looks at a cluster")
            .hint("name one with --context; `weft info` and `weft ps` show the mesh of this machine"));
    };
    let checks = block_on(async { health::run(&Cluster::connect(&choice).await?).await })?;
    print(&args.output.format.render(&checks, |checks| people(checks))?)?;
    let bad = checks.iter().any(|check| check.level == Level::Error);
    Ok(ExitCode::from(if bad { FAILED } else { 0 }))
}

fn people(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.level {
            Level::Ok => coloured(Colour::Green, "ok     "),
            Level::Warning => coloured(Colour::Yellow, "warning"),
            Level::Error => coloured(Colour::Red, "error  "),
        };
        text.push_str(&format!("{mark}  {}: {}\n", check.subject, check.message));
        for name in check.about.iter().take(SHOWN) {
            text.push_str(&format!("           {name}\n"));
        }
        if check.about.len() > SHOWN {
            text.push_str(&format!("           and {} more\n", check.about.len() - SHOWN));
        }
        if !check.hint.is_empty() {
            text.push_str(&format!("           {}\n", check.hint));
        }
    }
    text
}
