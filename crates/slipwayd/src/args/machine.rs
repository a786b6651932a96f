//! What `up`, `server` and `agent` are told alike about the machine that they run on.

use std::net::Ipv4Addr;

use clap::Args;
use slipway_model::cidr::Cidr;
use slipway_model::unit::{Bytes, Cpus};

/// What instances may have of the machine.
#[derive(Debug, Clone, Args)]
pub struct Room {
    /// What constraints may ask for, such as rack:r1; more than one may be given
    #[arg(long, value_name = "NAME:VALUE")]
    pub attribute: Vec<String>,
    /// Processors to give away to instances [default: 16 for each that there is; limits are hard]
    #[arg(long)]
    pub cpus: Option<Cpus>,
    /// Memory to give away to instances, such as 12G [default: all but 768M]
    #[arg(long)]
    pub mem: Option<Bytes>,
    /// Disk to give away to instances [default: what is free where the data is]
    #[arg(long)]
    pub disk: Option<Bytes>,
    /// Accelerators to give away: they are counted, and nothing else is done with them
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub gpus: u32,
    /// Ports of this machine that may lead to instances; apart from those of another Slipway here
    #[arg(long, default_value = "31000-32000", value_name = "FIRST-LAST", value_parser = ports)]
    pub ports: (u16, u16),
}

/// What sandboxes reach outside.
#[derive(Debug, Clone, Args)]
pub struct Outbound {
    /// Name servers for programs and builds here [default: the host's]
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<Ipv4Addr>,
    /// Private networks that they may reach all the same
    #[arg(long, value_name = "CIDR")]
    pub allow_egress: Vec<Cidr>,
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let numbers =
        text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let bad = || "write two numbers from 1024 to 65535, such as 31000-32000".to_owned();
    numbers.filter(|(first, last)| *first >= 1024 && first <= last).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Args, Command};
    use crate::capacity::Offer;

    fn typed(words: &str) -> Result<Offer, String> {
        let words = ["slipwayd", "agent"].into_iter().chain(words.split_whitespace());
        let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Agent(agent) = args.command else { unreachable!("it was typed") };
        Offer::of(&agent.room, None).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn me_01_a_node_offers_what_its_operator_says() {
        let offer = typed("--gpus 2 --disk 10G --ports 31000-31009 --attribute rack:r1;dc:a").unwrap();
        assert_eq!((offer.gpus, offer.ports, offer.attributes.len()), (2, (31_000, 31_009), 2));
        assert_eq!(offer.disk.map(|disk| disk.to_string()).as_deref(), Some("10G"));
        for (slip, words) in [
            ("--ports 80-90", "such as 31000-32000"),
            ("--ports 31009-31000", "such as 31000-32000"),
            ("--attribute rack", "such as rack:r1"),
            ("--allow-egress 10.0.0.0/33", "such as 10.111.0.0/16"),
            ("--gpus=-1", "--gpus"),
        ] {
            assert!(typed(slip).unwrap_err().contains(words), "{slip}");
        }
    }
}
