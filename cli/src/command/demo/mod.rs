//! `weft demo`: a small bookshop in several languages, and what a mesh does for it: each claim is checked.

mod bookshop;
mod chapters;
mod stage;

use std::process::ExitCode;
use std::time::Instant;

use super::{CommandError, CommandResult, FAILED, Globals, event_loop};
use crate::output::{Colour, coloured, say};
use crate::runtime::interrupt::Interrupts;
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
    let mesh = globals.named_mesh().map_or("demo", |mesh| mesh.as_str());
    let stage = Stage::new(mesh)?;
    // The programs that a Ctrl-C ends are this one's too; it goes on, to take the mesh down.
    let event_loop = event_loop()?;
    let mut interrupts = {
        let _context = event_loop.enter();
        Interrupts::listen()?
    };
    let mut came = None;
    let mut interrupted = || {
        came = came.take().or_else(|| event_loop.block_on(interrupts.so_far()));
        came.clone()
    };
    let began = Instant::now();
    let result = play(&stage, &mut interrupted);
    let interrupted = interrupted();
    match &result {
        _ if interrupted.is_some() => {}
        Ok(()) => say(&format!(
            "\n{} Every claim held, in {} s.",
            coloured(Colour::Green, "✔"),
            began.elapsed().as_secs()
        )),
        Err(error) => say(&format!("\n{} {error}", coloured(Colour::Red, "✘"))),
    }
    if args.keep {
        say(&hints(mesh));
    } else {
        say("Taking everything down …");
        stage.weft(&["down"])?;
    }
    if let Some(error) = interrupted {
        return Err(error);
    }
    result.map(|()| ExitCode::SUCCESS).map_err(|message| CommandError::new(FAILED, message))
}

fn play(stage: &Stage, interrupted: &mut impl FnMut() -> Option<CommandError>) -> Result<(), String> {
    stage.set_up()?;
    for (number, chapter) in (1..).zip(chapters::ALL) {
        if interrupted().is_some() {
            return Err("interrupted".to_owned());
        }
        say(&format!("\n{}", coloured(Colour::Bold, &format!("{number}. {}", chapter.title))));
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
