//! The function's requests to others, with reqwest's pooled client. In: a path after `NEXT`, or a plan. Out: answers.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{raw, text};

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);

type Answer = (StatusCode, Bytes);

/// `/chain`: the answer of the next function.
pub async fn chain(Query(query): Query<HashMap<String, String>>) -> Answer {
    call(text(&query, "path")).await
}

/// `/fan`: each request in a task of its own.
pub async fn fan(Query(query): Query<HashMap<String, String>>) -> String {
    let n = text(&query, "n").parse().unwrap_or(0);
    let tasks = (0..n).map(|_| {
        let path = text(&query, "path").to_owned();
        tokio::spawn(async move { call(&path).await.0 })
    });
    let statuses = join_all(tasks).await.into_iter();
    let statuses = statuses
        .map(|status| status.map_or_else(|_| "502".into(), |status| status.as_str().to_owned()));
    format!("fan {}\n", statuses.collect::<Vec<_>>().join(","))
}

/// `/hop`: follows a plan's node.
pub async fn hop(headers: HeaderMap) -> (StatusCode, &'static str) {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    };
    match follow(header("X-Plan"), header("X-Node")).await {
        Some(()) => (StatusCode::OK, "ok\n"),
        None => (StatusCode::BAD_GATEWAY, "a child failed\n"),
    }
}

/// None: a child failed, or the plan cannot be read.
async fn follow(plan: &str, index: &str) -> Option<()> {
    let [_, _, before, after, mode, children] = node(plan, index)?;
    sleep(Duration::from_millis(before.parse().ok()?)).await;
    let children = children.split(',').filter(|child| !child.is_empty());
    if mode == "p" {
        let tasks = children.map(|child| tokio::spawn(visit(plan.to_owned(), child.to_owned())));
        join_all(tasks)
            .await
            .into_iter()
            .map(|visited| visited.ok().flatten())
            .collect::<Option<()>>()?;
    } else {
        for child in children {
            visit(plan.to_owned(), child.to_owned()).await?;
        }
    }
    sleep(Duration::from_millis(after.parse().ok()?)).await;
    Some(())
}

fn node<'a>(plan: &'a str, index: &str) -> Option<[&'a str; 6]> {
    let node = plan.split('|').nth(index.parse().ok()?)?;
    node.split(';').collect::<Vec<_>>().try_into().ok()
}

async fn visit(plan: String, index: String) -> Option<()> {
    let [port, target, ..] = node(&plan, &index)?;
    if *raw::IS_ASKED_FOR {
        return raw::visit(port, target, &plan, &index).await;
    }
    let request = CLIENT.get(format!("http://127.0.0.1:{port}{target}"));
    let request = request.header("X-Plan", &plan).header("X-Node", index);
    let (status, _) = exchange(request).await.ok()?;
    (status == StatusCode::OK).then_some(())
}

async fn call(path: &str) -> Answer {
    let next = std::env::var("NEXT").unwrap_or_default();
    let failed = |error| (StatusCode::BAD_GATEWAY, Bytes::from(format!("{error}\n")));
    exchange(CLIENT.get(next + path))
        .await
        .unwrap_or_else(failed)
}

async fn exchange(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let answer = request.send().await?;
    Ok((answer.status(), answer.bytes().await?))
}
