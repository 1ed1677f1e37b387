//! `weft demo`: a small bookshop in several languages, and what a mesh does for it: each claim is checked.

mod bookshop;
mod chapters;
mod stage;

use std::process::ExitCode;
use std::time::Instant;

use super::{CommandError, CommandResult, FAILED, Globals};
use crate::output::{Colour, coloured};
use stage::Stage;

/// Walk through the mesh with a bookshop of services in several languages.
///
/// Starts a mesh of its own, runs the services in it, drives traffic, and checks in every chapter what it claims.
/// Afterwards nothing is left, unless --keep is given.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft demo
  weft demo --keep        look around afterwards

Exit codes: 0 every claim held; 1 one did not.")]
pub struct Args {
    /// Leave everything running, with hints what to try.
    #[arg(long)]
    pub keep: bool,
}

/// Runs the command. The demo's mesh is called `demo` unless another was asked for.
///
/// # Errors
/// When a chapter's claim does not hold, or something the demo needs is missing.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let mesh = if globals.mesh.as_str() == "default" { "demo" } else { globals.mesh.as_str() };
    let stage = Stage::new(mesh)?;
    let began = Instant::now();
    let result = play(&stage);
    match &result {
        Ok(()) => println!(
            "\n{} Every claim held, in {} s.",
            coloured(Colour::Green, "✔"),
            began.elapsed().as_secs()
        ),
        Err(error) => println!("\n{} {error}", coloured(Colour::Red, "✘")),
    }
    if args.keep {
        println!("{}", hints(mesh));
    } else {
        println!("Taking everything down …");
        stage.weft(&["down"])?;
    }
    result.map(|()| ExitCode::SUCCESS).map_err(|message| CommandError::new(FAILED, message))
}

fn play(stage: &Stage) -> Result<(), String> {
    stage.set_up()?;
    for (number, chapter) in (1..).zip(chapters::ALL) {
        println!("\n{}", coloured(Colour::Bold, &format!("{number}. {}", chapter.title)));
        (chapter.play)(stage).map_err(|error| format!("Chapter {number}, {}: {error}", chapter.title))?;
    }
    Ok(())
}

fn hints(mesh: &str) -> String {
    format!(
        "
The bookshop is still running, in the mesh `{mesh}`. Some things to try:
  export WEFT_MESH={mesh}
  weft ps
  weft run -- curl -s http://shop:9080/books/1
  weft stat --by edge
  weft get -o yaml
  weft proxy config reviews-v1 listeners
  weft logs stock-v1 --proxy
  weft down                                       takes it all away"
    )
}
