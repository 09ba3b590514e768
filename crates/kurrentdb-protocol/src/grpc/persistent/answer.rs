//! What a group tells of itself, in KurrentDB's words.

use super::super::proto::event_store::client::persistent_subscriptions::{
    SubscriptionInfo,
    subscription_info::{ConnectionInfo, Measurement},
};
use crate::persistent::info::{ConsumerInfo, Info};
use std::time::Duration;

pub(super) fn info(info: Info) -> SubscriptionInfo {
    let settings = &info.settings;
    let all = info.source.is_all();
    SubscriptionInfo {
        event_source: info.source.name().to_owned(),
        group_name: info.group,
        status: info.status,
        total_in_flight_messages: number(info.under_way as u64),
        outstanding_messages_count: number(info.under_way as u64),
        connections: info.consumers.into_iter().map(connection).collect(),
        average_per_second: number(info.rate.per_second),
        total_items: long(info.rate.total),
        count_since_last_measurement: long(info.rate.recent),
        last_checkpointed_event_position: info.checkpoint,
        last_known_event_position: info.last_known,
        resolve_link_tos: settings.resolve_links,
        start_from: info.start.text(all),
        message_timeout_milliseconds: millis(settings.message_timeout),
        extra_statistics: settings.extra_statistics,
        max_retry_count: number(settings.max_retry_count.into()),
        live_buffer_size: number(settings.live_buffer_size.into()),
        buffer_size: number(settings.history_buffer_size.into()),
        read_batch_size: number(settings.read_batch_size.into()),
        check_point_after_milliseconds: settings.checkpoint_after.map(millis).unwrap_or_default(),
        min_check_point_count: number(settings.min_checkpoint_count.into()),
        max_check_point_count: number(settings.max_checkpoint_count.into()),
        read_buffer_count: number(info.read_buffer as u64),
        live_buffer_count: long(info.live_buffer as u64),
        retry_buffer_count: number(info.retry_buffer as u64),
        named_consumer_strategy: settings.strategy.name().to_owned(),
        max_subscriber_count: number(settings.max_subscriber_count.into()),
        parked_message_count: long(info.parked),
    }
}

fn connection(consumer: ConsumerInfo) -> ConnectionInfo {
    let measurement = |(key, value): (&str, u64)| Measurement { key: key.to_owned(), value: long(value) };
    ConnectionInfo {
        // KurrentDB does not say it either, for connections over gRPC.
        from: String::new(),
        username: consumer.user,
        average_items_per_second: number(consumer.rate.per_second),
        total_items: long(consumer.rate.total),
        count_since_last_measurement: long(consumer.rate.recent),
        observed_measurements: consumer.measurements.into_iter().map(measurement).collect(),
        available_slots: number(consumer.free as u64),
        in_flight_messages: number(consumer.under_way as u64),
        connection_name: consumer.connection,
    }
}

fn number(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
