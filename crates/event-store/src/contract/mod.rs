//! The laws of [`crate::EventStore`] as tests, and the plain model that they were first held against.
//!
//! An engine proves itself by one line in a test file, `event_store::contract_tests!(subject)`, where `subject` is a
//! function that makes a [`Subject`]. Each law becomes a test of its own, so that a broken one is named.
//!
//! To add a law, write it in its chapter and name it in the list below. A law that is not on the list is dead code,
//! which the compiler reports; one on the list runs on every engine. A law asserts exact results, names its streams
//! with [`bed::Bed::stream`], and assumes nothing about what else the store holds: it may be shared, and remote.

mod bed;
mod model;

pub use bed::Subject;
pub use model::Model;

/// Declares the chapters, makes each law callable from outside, and makes the macro that turns them into tests.
macro_rules! laws {
    (($d:tt) $($chapter:ident { $($law:ident,)+ })+) => {
        $(
            #[allow(clippy::unwrap_used, reason = "a law is a test")]
            mod $chapter;
        )+

        /// Every law, by chapter.
        #[doc(hidden)]
        pub mod law {
            $(pub mod $chapter {
                $(pub async fn $law(subject: impl crate::contract::Subject) {
                    let name = concat!(stringify!($chapter), "::", stringify!($law));
                    crate::contract::bed::run(name, subject, crate::contract::$chapter::$law).await;
                })+
            })+
        }

        /// Makes a test of every law of [`EventStore`](crate::EventStore), for the store that a function makes.
        ///
        /// The argument names a function without parameters that returns a
        /// [`Subject`](crate::contract::Subject); it is called once for each law. The crate that uses this needs
        /// `tokio` with `macros` and `rt-multi-thread`.
        #[macro_export]
        macro_rules! contract_tests {
            ($d subject:path) => {
                $(mod $chapter {
                    #[allow(unused_imports, reason = "the path given may be absolute")]
                    use super::*;
                    $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $law() {
                        $crate::contract::law::$chapter::$law($d subject()).await;
                    })+
                })+
            };
        }
    };
}

laws! { ($)
    append {
        revisions_count_from_zero_and_positions_grow,
        an_event_comes_back_as_it_was_written,
        created_never_goes_backwards,
        any_always_holds,
        appends_in_turn_are_judged_one_after_the_other,
        appends_in_turn_keep_their_order_beside_others,
        no_stream_holds_without_events_alone,
        stream_exists_holds_with_events_or_metadata,
        exact_holds_at_the_last_revision_alone,
        a_batch_stands_together_in_all,
        an_empty_append_is_answered_by_its_expectation_alone,
        of_appends_at_one_revision_one_wins,
        appends_at_the_same_time_lose_nothing,
        each_writer_can_rely_on_its_own_stream,
        a_reader_never_sees_half_a_batch,
        an_event_type_has_1_to_1024_bytes,
        an_event_too_large_is_refused,
        an_append_too_large_is_refused,
        what_was_answered_is_read,
        what_was_answered_outlives_a_restart,
        a_dropped_call_can_be_sent_again,
        a_closed_store_refuses_appends,
    }
    idempotency {
        any_gives_the_first_answer,
        stream_exists_gives_the_first_answer,
        any_finds_a_part_of_a_batch,
        any_with_a_new_first_id_is_a_new_append,
        any_with_a_known_first_and_a_new_later_id_is_refused,
        ids_of_another_stream_do_not_count,
        exact_gives_the_first_answer,
        no_stream_gives_the_first_answer,
        exact_with_other_ids_is_refused,
        exact_with_known_ids_elsewhere_is_refused,
        exact_at_the_last_revision_does_not_look_at_ids,
        the_first_answer_outlives_truncation,
        the_first_answer_outlives_a_restart,
        the_first_answer_does_not_undelete,
        no_stream_with_other_ids_undeletes,
        a_refused_append_is_not_remembered,
        sent_many_times_at_once_it_is_written_once,
    }
    multi {
        all_streams_are_written_or_none,
        events_stand_together_in_the_order_of_the_writes,
        a_stream_and_its_metadata_begin_together,
        expectations_are_judged_against_one_moment,
        a_check_writes_nothing_and_can_refuse,
        sent_again_it_gives_the_first_answer_even_if_a_check_fails_now,
        a_mix_of_known_and_new_is_refused,
        a_stream_named_twice_is_refused,
        a_tombstoned_stream_refuses_the_whole,
        softly_deleted_streams_come_back,
        readers_never_see_half,
    }
    delete {
        a_softly_deleted_stream_is_not_found,
        a_soft_delete_is_metadata_and_keeps_the_rest_of_it,
        revisions_go_on_after_a_soft_delete,
        stream_exists_does_not_hold_on_a_softly_deleted_stream,
        exact_is_judged_on_a_softly_deleted_stream,
        other_metadata_undeletes_with_all_old_events_truncated,
        a_stream_that_never_was_cannot_be_deleted,
        a_stream_with_metadata_alone_can_be_deleted,
        a_delete_obeys_its_expectation,
        a_deleted_stream_can_be_deleted_again,
        a_tombstoned_stream_is_deleted_for_good,
        a_tombstone_obeys_its_expectation,
        a_stream_that_never_was_can_be_tombstoned,
        a_softly_deleted_stream_can_be_tombstoned,
        a_delete_removes_nothing_from_all,
        a_metastream_cannot_be_deleted,
        an_event_named_as_a_tombstone_is_none,
        deletes_outlive_a_restart,
    }
    metadata {
        a_stream_without_metadata_has_the_default,
        metadata_comes_back_as_it_was_set,
        metadata_obeys_its_expectation,
        metadata_can_come_before_its_stream,
        max_count_keeps_the_newest,
        truncate_before_hides_older_events,
        the_stricter_of_max_count_and_truncate_before_counts,
        max_age_hides_older_events,
        a_wholly_truncated_stream_is_an_empty_page,
        truncation_does_not_touch_all,
        a_metastream_shows_its_newest_event_alone,
        a_metastream_has_no_metadata,
        metadata_that_is_no_json_counts_as_none,
        metadata_outlives_a_restart,
    }
    read {
        forwards_in_pages,
        backwards_in_pages,
        forwards_from_every_place,
        backwards_from_every_place,
        from_a_truncated_place_it_begins_at_the_next_readable,
        backwards_it_ends_at_the_oldest_readable,
        a_limit_of_zero_is_refused,
        a_page_is_bounded_in_bytes_but_holds_one_event,
        a_stream_without_events_is_not_found,
        what_can_be_read_is_told,
        names_that_look_alike_do_not_mix,
        the_longest_names_work,
    }
    links {
        a_link_is_resolved_where_asked,
        a_link_without_a_readable_target_stands_alone,
        links_are_resolved_in_all,
        links_are_resolved_in_subscriptions,
        a_page_counts_what_links_lead_to,
    }
    derived {
        a_category_holds_a_link_to_each_event_of_its_streams,
        a_type_holds_a_link_to_each_event_of_it,
        streams_holds_a_link_to_the_first_event_of_each,
        derived_streams_are_followed,
        derived_streams_cannot_be_written,
        metadata_hides_nothing_of_a_derived_stream,
        links_to_what_cannot_be_read_stand_alone,
        a_link_that_is_gathered_leads_to_its_event,
        derived_streams_add_nothing_to_all,
        derived_streams_outlive_a_restart,
    }
    all {
        everything_comes_in_the_order_of_writing,
        backwards_is_forwards_reversed,
        from_a_position_inclusive_and_exclusive,
        a_limit_of_zero_is_refused,
        filtered_by_stream_prefix,
        filtered_by_event_type_prefix,
        filtered_by_expressions,
        filtered_pages_lead_to_the_end,
        the_newest_position_is_known,
        statistics_count_what_is_written,
        the_store_keeps_its_id,
    }
    subscriptions {
        a_stream_from_its_start_then_live,
        a_stream_from_a_revision,
        a_stream_from_its_end,
        a_stream_that_does_not_exist_yet,
        truncated_events_do_not_come,
        all_from_a_position_then_live,
        all_from_its_end,
        a_filter_lets_through_what_matches,
        checkpoints_grow_and_cover_what_did_not_match,
        a_checkpoint_resumes_without_a_gap_or_a_double,
        nothing_is_lost_or_doubled_between_catch_up_and_live,
        a_stream_seam_is_seamless_too,
        each_event_wakes_a_waiting_reader,
        a_tombstone_comes_and_ends_the_subscription,
        a_tombstoned_stream_cannot_be_followed,
        a_softly_deleted_stream_goes_on_when_it_comes_back,
        closing_the_store_ends_subscriptions,
    }
}
