//! `asistry completions`: the script that lets a shell complete our commands.
//!
//! The scripts are the files in `completions/`, taken in as they are. Refuses to install them anywhere.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::ui;

/// Options of `asistry completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
bash:        mkdir -p ~/.local/share/bash-completion/completions
             asistry completions bash >~/.local/share/bash-completion/completions/asistry
             or in ~/.bashrc: source <(asistry completions bash)
zsh:         asistry completions zsh >DIR/_asistry, where DIR is in $fpath
             or in ~/.zshrc, after compinit: source <(asistry completions zsh)
fish:        asistry completions fish >~/.config/fish/completions/asistry.fish
PowerShell:  in $PROFILE: asistry completions powershell | Out-String | Invoke-Expression
elvish:      in rc.elv: eval (asistry completions elvish | slurp)

Tools, their arguments and values are those of the last `asistry tools` or `asistry call` at the endpoint.")]
pub struct Arguments {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

/// The shells that know how to complete our commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// elvish
    Elvish,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// Z shell
    Zsh,
}

impl Shell {
    fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("../../completions/asistry.bash"),
            Self::Elvish => include_str!("../../completions/asistry.elv"),
            Self::Fish => include_str!("../../completions/asistry.fish"),
            Self::Powershell => include_str!("../../completions/asistry.ps1"),
            Self::Zsh => include_str!("../../completions/_asistry"),
        }
    }
}

/// Prints the script.
///
/// # Errors
/// A result that cannot be written.
pub fn run(arguments: &Arguments) -> Result<u8> {
    ui::print_exactly(arguments.shell.script().trim_end_matches('\n'))?;
    Ok(0)
}
