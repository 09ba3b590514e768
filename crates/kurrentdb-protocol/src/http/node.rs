//! The node itself: that it lives, what it is, who its neighbours are (none).

use super::{Node, written};
use crate::KURRENTDB_VERSION;
use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
};
use event_store::StoreState;
use serde_json::{Value, json};
use std::sync::Arc;

fn is_live(node: &Node) -> bool {
    matches!(node.store.state(), StoreState::Ready | StoreState::ReadOnly(_))
}

/// 204, or the success that `?liveCode=` asks for; 503 while the store cannot be read.
pub(super) async fn live(State(node): State<Arc<Node>>, RawQuery(query): RawQuery) -> StatusCode {
    if !is_live(&node) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let asked =
        query.as_deref().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("liveCode="));
    let code = asked.and_then(|code| StatusCode::from_bytes(code.as_bytes()).ok());
    code.filter(StatusCode::is_success).unwrap_or(StatusCode::NO_CONTENT)
}

pub(super) async fn info(State(node): State<Arc<Node>>) -> Json<Value> {
    let state = if is_live(&node) { "leader" } else { "unknown" };
    // KurrentDB's names: its own accounts are "internal", and a node that asks nobody is insecure.
    let authentication = if node.accounts { "internal" } else { "insecure" };
    Json(json!({
        "dbVersion": KURRENTDB_VERSION,
        "esVersion": KURRENTDB_VERSION,
        "state": state,
        "features": { "projections": false, "userManagement": node.accounts, "atomPub": true },
        "authentication": { "type": authentication, "properties": {} },
    }))
}

pub(super) async fn ping() -> Json<Value> {
    Json(json!({ "msgTypeId": 11, "text": "Ping request successfully handled" }))
}

/// The part of a node's statistics that an event store knows.
pub(super) async fn stats(State(node): State<Arc<Node>>) -> Result<Json<Value>, StatusCode> {
    let statistics = node.store.statistics().await.map_err(|e| super::streams::status(&e))?;
    Ok(Json(json!({
        "proc": { "startTime": written(node.started), "id": std::process::id() },
        "es": { "events": statistics.events, "bytesOnDisk": statistics.bytes_on_disk },
    })))
}

/// A cluster of one: the node leads itself.
pub(super) async fn gossip(State(node): State<Arc<Node>>) -> Result<Json<Value>, StatusCode> {
    let id = node.store.id().await.map_err(|e| super::streams::status(&e))?;
    let last = node.store.last_position().await.map_err(|e| super::streams::status(&e))?;
    let last = last.map_or(-1, |position| i64::try_from(position.raw()).unwrap_or(i64::MAX));
    let (host, port) = (&node.host, node.port);
    let live = is_live(&node);
    let member = json!({
        "instanceId": id,
        "timeStamp": written(node.clock.now()),
        "state": if live { "Leader" } else { "Unknown" },
        "isAlive": live,
        "internalTcpIp": host,
        "internalTcpPort": 0,
        "internalSecureTcpPort": 0,
        "externalTcpIp": host,
        "externalTcpPort": 0,
        "externalSecureTcpPort": 0,
        "internalHttpEndPointIp": host,
        "internalHttpEndPointPort": port,
        "httpEndPointIp": host,
        "httpEndPointPort": port,
        "lastCommitPosition": last,
        "writerCheckpoint": last + 1,
        "chaserCheckpoint": last + 1,
        "epochPosition": 0,
        "epochNumber": 0,
        "epochId": id,
        "nodePriority": 0,
        "isReadOnlyReplica": false,
        "esVersion": KURRENTDB_VERSION,
    });
    Ok(Json(json!({ "members": [member], "serverIp": host, "serverPort": port })))
}
