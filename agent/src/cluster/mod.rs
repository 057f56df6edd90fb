//! `spanlet probes` and `spanlet doctor` for a whole cluster: every node's agent is asked, and one answer made of theirs.
//!
//! [`reach`] asks, [`probes`] and [`doctor`] put together what came: one table over all nodes, and who could not be
//! reached.

pub mod doctor;
pub mod probes;
pub mod reach;

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::cli::{Cluster, Doctor, Probes, ReportForm};
use crate::report::{table, Report};
use probes::Shown;
use reach::{Answer, Said, Target};

/// `spanlet probes --cluster`. Errors: no agent can be asked.
pub fn show_probes(asked: &Probes) -> anyhow::Result<()> {
    let (mut answers, namespace) = ask::<Report>(&asked.of, &["probes", "--output", "json"])?;
    let shown = Shown {
        namespace: match (asked.all_namespaces, &asked.namespace) {
            (true, _) => None,
            (false, Some(namespace)) => Some(namespace.clone()),
            (false, None) => Some(namespace),
        },
        wide: asked.output == ReportForm::Wide,
    };
    match asked.output {
        ReportForm::Text | ReportForm::Wide => print!("{}", probes::text(&answers, &shown)),
        ReportForm::Json => {
            probes::narrow(&mut answers, &shown);
            json(&answers)?;
        }
    }
    Ok(())
}

/// `spanlet doctor --cluster`. Errors: no agent can be asked.
pub fn show_doctor(asked: &Doctor) -> anyhow::Result<()> {
    let (answers, _) = ask(&asked.of, &["doctor", "--output", "json"])?;
    match asked.output {
        ReportForm::Text | ReportForm::Wide => print!("{}", doctor::text(&answers)),
        ReportForm::Json => json(&answers)?,
    }
    Ok(())
}

fn json<T: Serialize>(answers: &[Answer<T>]) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(answers)?);
    Ok(())
}

/// What every node says, and the namespace that the user works in.
fn ask<T: DeserializeOwned + Send + 'static>(
    of: &Cluster,
    arguments: &[&str],
) -> anyhow::Result<(Vec<Answer<T>>, String)> {
    let target = Target {
        kubeconfig: of.kubeconfig.clone(),
        context: of.context.clone(),
        agent_namespace: of.agent_namespace.clone(),
        nodes: of.node.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (client, namespace) = reach::connect(&target).await?;
        Ok((reach::ask(&client, &target, arguments).await?, namespace))
    })
}

/// The answers of those who answered, with their nodes' names.
fn said<T>(answers: &[Answer<T>]) -> impl Iterator<Item = (&str, &T)> {
    answers.iter().filter_map(|answer| match &answer.said {
        Said::Report(report) => Some((answer.node.as_str(), report)),
        Said::Error(_) => None,
    })
}

/// How many answered.
fn count<T>(answers: &[Answer<T>]) -> String {
    let plural = if answers.len() == 1 { "" } else { "s" };
    format!(
        "{} node{plural}, {} answered\n",
        answers.len(),
        said(answers).count()
    )
}

/// Who did not, and why.
fn not_reached<T>(answers: &[Answer<T>], out: &mut String) {
    let rows = answers.iter().filter_map(|answer| match &answer.said {
        Said::Report(_) => None,
        Said::Error(reason) => Some(vec![
            answer.node.clone(),
            answer.agent.clone(),
            reason.replace('\n', "; "),
        ]),
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        table(&["NOT REACHED", "AGENT", "WHY"], rows, out);
    }
}
