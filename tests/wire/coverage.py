"""Every attack of the catalogue, and the tests that show what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_REFUSED = "wire/test_attacks.py::test_refused"
_PASSED = "wire/test_attacks.py::test_passed"
_SLASHES = "wire/test_slashes.py::test_"
_LIMITS = "wire/test_limits.py::test_"
_PARAMETERS = "core/test_parameters.py::test_"
_BODIES = "core/test_bodies.py::test_"
_CATALOG = "core/test_catalog.py::test_"
_ENGINE = "core/test_engine.py::test_"
_SCHEMAS = "load/test_schemas.py::test_"
_VERDICTS = f"{_SCHEMAS}each_dialect_means_what_its_version_says"
_YAML = "load/test_yaml.py::test_"
_BUNDLE = "load/test_bundle.py::test_"
_CLIENT = "upstream/test_client.py::test_"
_BROKEN = "upstream/test_broken.py::test_"
_DIAL = "upstream/test_dial.py::test_"
_LEDGER = "ledger/test_"
_TOKENS = "auth/test_verification.py::test_"
_POLICIES = "policies/test_"
_TRAPS = f"{_POLICIES}cedar_traps.py::test_"
_RULES = "properties/test_policies.py::test_"


@dataclass(frozen=True)
class Later:
    """An attack on what this version does not have."""

    why: str


_NO_CONSOLE = Later("there is no console, and nothing is served from a folder")
_APPROVALS = "gateway/test_approvals.py::test_"
_CURSOR = "core/test_cursor.py::test_"
_FITTING = "core/test_fitting.py::test_"
_PLANS = "gateway/test_plans.py::test_"
_NO_BUDGETS = Later("there are no budgets in this version")
_NO_MCP = Later("there is no MCP listener in this version")
_DEPLOYED = Later("a matter of the deployment: docs/threat-model.md, and the chart")

# Every attack of the catalogue: the tests that make it, below `tests/`, or why nothing can be tested yet.
COVERAGE: Final[dict[str, tuple[str, ...] | Later]] = {
    **dict.fromkeys(("A01", "A02", "A04", "A07", "A08", "A10", "A11", "A13", "A14", "A16", "A17", "A19", "A20",
                     "A22", "A23", "A25", "A26", "A28", "A29", "A34"), (_REFUSED,)),
    "A05": (_REFUSED, _PASSED),
    "A31": (_REFUSED, "wire/test_attacks.py::test_expect_is_honoured_only_after_the_gate"),
    "A32": (f"{_LIMITS}pipelining_is_bounded",),
    "B03": (
        _REFUSED, _PASSED, f"{_SLASHES}each_golden_case_decides_as_it_says", f"{_SLASHES}what_is_judged_is_what_is_sent",
    ),
    "B04": (_REFUSED, f"{_SLASHES}every_other_place_is_refused", f"{_CATALOG}what_decodes_twice_is_no_match"),
    **dict.fromkeys(("B01", "B06", "B07", "B09", "B10", "B21"), (_REFUSED,)),
    "B12": (f"{_CATALOG}a_disguised_path_is_refused_not_repaired", f"{_CATALOG}names_are_exact"),
    "B13": (_REFUSED, f"{_CATALOG}a_disguised_path_is_refused_not_repaired"),
    "B15": (
        f"{_PARAMETERS}path_values_that_make_another_path_are_refused",
        "properties/test_roundtrip.py::test_what_would_be_another_path_is_refused_by_name_too",
    ),
    "B16": (
        f"{_PARAMETERS}path_values_by_name_are_held_to_the_same",
        f"{_PARAMETERS}other_reserved_characters_are_encoded_again",
        "properties/test_roundtrip.py::test_every_segment_of_the_template_survives",
        "upstream/test_request.py::test_a_target_in_any_other_form_is_not_sent",
    ),
    "B18": (f"{_PARAMETERS}undeclared_names_are_refused", f"{_PARAMETERS}a_name_comes_once"),
    "B19": (f"{_PARAMETERS}undeclared_names_are_refused", f"{_PARAMETERS}decoding_happens_once"),
    "B22": (f"{_LIMITS}a_head_that_never_ends_is_bounded",),
    **dict.fromkeys(("C01", "C02", "C11", "C13", "C17"), (_REFUSED,)),
    **dict.fromkeys(("C04", "C05", "C14"), (_PASSED,)),
    "C07": (
        _PASSED,
        f"{_ENGINE}headers_of_the_agent_travel_only_where_the_tool_says_so",
        f"{_BUNDLE}headers_of_the_gate_are_neither_credentials_nor_forwarded",
        "upstream/test_request.py::test_the_gates_credential_takes_the_place_of_the_agents",
    ),
    "C08": (
        _REFUSED,
        f"{_SCHEMAS}a_header_that_is_the_gates_own_is_never_a_parameter",
        "upstream/test_request.py::test_headers_that_are_not_an_operations_are_not_sent",
    ),
    "C10": (f"{_PARAMETERS}header_values_are_printable_ascii",),
    "C16": (_REFUSED, _PASSED),
    "C19": (_REFUSED, _PASSED, "upstream/test_request.py::test_declared_accept_and_user_agent_stand"),
    "C20": ("core/test_signature.py::test_undeclared_headers_are_not_sent",),
    "C22": ("listeners/test_reply.py::test_headers_that_are_not_the_agents_are_withheld",),
    **dict.fromkeys(("D01", "D03", "D12"), (f"{_BODIES}only_the_declared_media_type_is_taken",)),
    "D04": (_REFUSED, f"{_BODIES}the_essence_is_compared_without_case_and_parameters"),
    **dict.fromkeys(("D06", "D07"), (f"{_BODIES}content_codings_are_refused",)),
    "D09": (f"{_BROKEN}a_compressed_answer_is_passed_on_as_it_is", f"{_CLIENT}a_compressed_answer_hides_no_credential"),
    "D10": (
        f"{_BODIES}multipart_with_two_readings_is_malformed",
        f"{_BODIES}a_part_by_name_is_held_to_the_same_rules",
        f"{_BODIES}only_the_declared_media_type_is_taken",
    ),
    "D13": (_PASSED, f"{_BODIES}a_body_nobody_declared_is_malformed"),
    "D15": (f"{_LIMITS}a_hundred_thousand_chunks_are_one_body",),
    **dict.fromkeys(("E01", "E04", "E10", "E12"), (f"{_BODIES}json_with_two_readings_is_malformed",)),
    "E03": (
        f"{_BODIES}json_with_two_readings_is_malformed",
        f"{_BODIES}keys_that_differ_in_case_may_stand_where_the_schema_declares_both",
        "core/test_strictjson.py::test_keys_that_differ_only_in_case_never_stand_together",
    ),
    **dict.fromkeys(
        ("E06", "E07"), (f"{_BODIES}json_is_sent_as_it_was_judged", f"{_BODIES}json_with_two_readings_is_malformed")
    ),
    "E09": (f"{_BODIES}json_is_sent_as_it_was_judged",),
    "E13": (f"{_PARAMETERS}too_many_fields_are_not_counted_one_by_one", f"{_SCHEMAS}wide_values_and_schemas_are_judged_at_once"),
    "E15": (f"{_BODIES}another_kind_of_body_is_a_violation", f"{_BODIES}a_missing_body_is_a_violation_only_where_required"),
    "E16": (f"{_PARAMETERS}numbers_and_booleans_are_read_strictly", _VERDICTS),
    **dict.fromkeys(("F02", "F03"), (_VERDICTS,)),
    "F05": (f"{_SCHEMAS}closed_bodies_take_no_fields_beyond_those_named",),
    "F06": (f"{_SCHEMAS}what_is_not_enforced_is_noted_with_its_place", f"{_BUNDLE}a_mistake_in_a_toolspec_is_told_with_its_line"),
    "F08": (f"{_SCHEMAS}a_remote_reference_opens_no_socket", "load/test_documents.py::test_a_reference_never_leaves_the_folder"),
    **dict.fromkeys(
        ("F09", "F11"),
        (f"{_SCHEMAS}references_that_lead_out_are_problems", "load/test_documents.py::test_a_reference_never_leaves_the_folder"),
    ),
    "F12": (f"{_SCHEMAS}backtracking_is_bounded",),
    "F14": (f"{_SCHEMAS}wide_values_and_schemas_are_judged_at_once",),
    "F15": ("core/test_signature.py::test_multiples_are_exact",),
    "F17": (f"{_SCHEMAS}read_only_fields_are_neither_required_nor_accepted_in_a_request",),
    "F18": ("core/test_signature.py::test_defaults_are_filled_in_judged_and_sent",),
    "F20": (
        "load/test_openapi.py::test_the_documents_own_server_is_used_where_it_is_absolute",
        f"{_BUNDLE}a_document_does_not_choose_an_address_of_the_host",
    ),
    "F21": (f"{_BUNDLE}a_documents_security_brings_no_credential", "core/test_signature.py::test_an_api_key_in_the_query_is_the_gates_own"),
    "F23": (
        "gateway/test_gateway.py::test_an_answer_off_its_schema_is_reported_and_passed_on_by_default",
        "gateway/test_gateway.py::test_an_answer_off_its_schema_is_refused_where_the_tool_says_so",
    ),
    "F24": (
        f"{_PARAMETERS}query_styles_are_those_of_openapi",
        f"{_PARAMETERS}deep_objects_that_contradict_themselves_are_malformed",
        f"{_PARAMETERS}reserved_characters_stand_where_allowed",
    ),
    "G01": (f"{_YAML}bombs_do_not_go_off", "load/test_vendor.py::test_alias_bombs_do_not_go_off"),
    "G02": (f"{_YAML}what_two_readers_could_read_differently_is_a_problem", "load/test_vendor.py::test_what_is_no_document_is_told_with_its_line"),
    **dict.fromkeys(("G04", "G07"), (f"{_YAML}what_two_readers_could_read_differently_is_a_problem",)),
    "G05": (f"{_YAML}scalars_are_those_of_the_core_schema", "load/test_vendor.py::test_yaml_keeps_text_as_text"),
    "G08": (f"{_YAML}bombs_do_not_go_off", "load/test_vendor.py::test_deep_nesting_is_refused_before_it_costs"),
    "G10": (
        "cli/test_check_commands.py::test_serve_reloads_on_change_and_on_sighup_and_keeps_the_last_good",
        "faults/test_reload.py::test_a_bad_bundle_never_serves",
    ),
    "G11": (f"{_RULES}no_statements_nothing_allowed", "cli/test_diff_command.py::test_a_statement_that_goes_takes_access_with_it"),
    "G13": (f"{_RULES}a_forbid_more_permits_nothing_more", f"{_POLICIES}gate.py::test_a_slip_never_serves"),
    "G14": Later("bundles are folders, not signed deliveries"),
    **dict.fromkeys(("H01", "H02", "H05"), (f"{_CATALOG}names_are_exact",)),
    "H04": (f"{_CATALOG}names_are_exact", f"{_BUNDLE}a_pattern_that_matches_nothing_is_a_problem"),
    "H07": (f"{_BUNDLE}a_glob_matches_whole_ids_and_nothing_more", f"{_BUNDLE}a_pattern_that_matches_nothing_is_a_problem"),
    "H08": (f"{_POLICIES}attacks.py::test_a_name_is_no_pattern",),
    "H10": ("listeners/test_metrics.py::test_random_paths_grow_no_series",),
    "I01": (f"{_TRAPS}a_forbid_that_errs_refuses",),
    "I03": (f"{_TRAPS}a_permit_that_errs_refuses_too", f"{_TRAPS}what_may_be_absent_is_not_taken_for_present"),
    "I04": ("core/test_policies.py::test_t7_no_clear_answer_refuses",),
    "I06": (f"{_POLICIES}cedar_values.py::test_numbers_are_told_exactly_or_not_at_all", f"{_POLICIES}cedar_values.py::test_a_null_that_clears_is_seen"),
    "I07": (f"{_RULES}the_order_of_statements_means_nothing", f"{_RULES}saying_it_twice_means_nothing"),
    "I09": (
        "test_clock.py::test_a_jump_back_never_turns_time_back", "test_clock.py::test_a_jump_forward_is_followed_slowly",
        "test_clock.py::test_a_jump_is_written_once", "ledger/test_clock_jumps.py::test_a_jump_opens_no_window",
    ),
    "I10": (f"{_POLICIES}gate.py::test_a_slip_never_serves", "core/test_policies.py::test_time_is_never_remembered"),
    "I12": ("faults/test_reload.py::test_no_decision_mixes_two_bundles",),
    "I13": (f"{_POLICIES}attacks.py::test_an_empty_set_is_no_condition", f"{_POLICIES}attacks.py::test_an_empty_list_meets_no_requirement"),
    **dict.fromkeys(("J01", "J04", "J07", "J11"), (f"{_TOKENS}a_bad_token_is_refused_with_its_reason",)),
    "J02": (f"{_TOKENS}a_public_key_is_no_secret", "auth/test_identity_settings.py::test_what_makes_no_sense_is_refused"),
    "J05": (f"{_TOKENS}a_bad_token_is_refused_with_its_reason", f"{_TOKENS}audiences_beside_ours_are_those_that_are_configured"),
    "J08": (f"{_TOKENS}a_bad_token_is_refused_with_its_reason", "auth/test_ring.py::test_a_bad_answer_leaves_the_last_good_keys"),
    "J10": ("auth/test_keyset.py::test_a_weak_secret_is_not_taken", "auth/test_gate.py::test_a_start_that_would_be_unsafe_is_refused"),
    "J13": ("auth/test_tokens.py::test_what_is_remembered_is_bounded", "auth/test_tokens.py::test_a_clock_set_back_revives_nothing"),
    "J14": Later("there is no admin key to compare: operators hold tokens, whose signatures and digests the libraries compare"),
    "J16": (
        "listeners/test_agent.py::test_own_paths", "listeners/test_admin.py::test_operators_are_not_called_from_pages",
        "auth/test_door.py::test_an_admin_port_serves_nobody_without_a_token", "auth/test_door.py::test_operators_have_roles",
    ),
    "J17": ("listeners/test_admin.py::test_operators_are_not_called_from_pages",),
    **dict.fromkeys(("J19", "J20"), _NO_CONSOLE),
    "J22": ("listeners/test_approvals.py::test_one_answer_is_for_one_request",),
    **dict.fromkeys(("K01", "K03", "K04", "K06", "K07", "K09", "K10", "K12", "K13", "K15", "K16", "K18", "K19", "K21",
                     "K22", "K24", "K25"), _NO_MCP),
    "L01": ("load/test_targets.py::test_an_odd_url_is_refused_with_a_sentence", f"{_BUNDLE}a_document_does_not_choose_an_address_of_the_host"),
    "L02": (f"{_DIAL}link_local_and_metadata_addresses_are_denied", f"{_DIAL}a_name_cannot_lead_to_metadata"),
    "L04": (f"{_DIAL}the_address_that_was_checked_is_connected_to",),
    "L05": (f"{_CLIENT}redirects_are_answers", "listeners/test_reply.py::test_a_location_leads_to_the_gate_or_nowhere"),
    **dict.fromkeys(("L07", "L26"), ("load/test_targets.py::test_an_odd_url_is_refused_with_a_sentence",)),
    "L08": (
        f"{_CLIENT}the_credential_travels_up_and_not_back",
        f"{_CLIENT}a_streamed_echo_is_redacted_across_chunks",
        f"{_CLIENT}a_compressed_answer_hides_no_credential",
    ),
    "L10": (
        f"{_CLIENT}no_failure_says_what_a_secret_is",
        f"{_BUNDLE}no_secret_reaches_bundle_or_problem",
        "gateway/test_recording.py::test_a_refused_call_shows_no_secret_and_loses_nothing",
        "core/test_schema.py::test_an_answers_secrets_are_named_and_not_shown",
        "properties/test_invariants.py::test_a_credential_is_nowhere_but_on_its_way_up",
    ),
    "L11": (f"{_CLIENT}no_cookie_is_kept",),
    "L13": (
        f"{_DIAL}an_upstream_that_does_not_verify_is_not_sent_to",
        f"{_DIAL}an_address_must_be_in_the_certificate",
        f"{_DIAL}tls_below_1_2_is_refused",
        f"{_DIAL}https_to_a_plain_port_never_falls_back",
    ),
    "L14": (f"{_BROKEN}an_answer_cut_anywhere_is_never_a_success",),
    "L16": ("upstream/test_response.py::test_an_ambiguous_answer_is_broken",),
    "L17": (f"{_BROKEN}bytes_after_an_answer_poison_nothing", "listeners/test_reply.py::test_a_value_cannot_end_its_line"),
    "L19": (f"{_BROKEN}a_body_where_none_may_be_is_dropped_with_its_connection",),
    "L20": ("listeners/test_agent.py::test_a_call_by_url_passes", "core/test_schema.py::test_an_unreadable_answer_is_a_violation"),
    "L22": (f"{_CLIENT}a_compressed_answer_hides_no_credential", f"{_BROKEN}a_compressed_answer_is_passed_on_as_it_is"),
    "L23": ("upstream/test_response.py::test_an_ambiguous_answer_is_broken",),
    "L25": ("listeners/test_reply.py::test_headers_that_are_not_the_agents_are_withheld",),
    **dict.fromkeys(("M02", "M03", "M05", "M06", "M08"), _NO_BUDGETS),
    "M09": (f"{_CLIENT}a_reused_connection_that_dies_is_not_tried_again", f"{_CLIENT}a_fresh_connection_that_dies_is_not_tried_again"),
    **dict.fromkeys(("M11", "M12"), Later("there are no idempotency keys in this version")),
    "M14": (f"{_FITTING}a_changed_argument_is_named", "properties/test_plans.py::test_a_digest_changes_exactly_when_anything_does"),
    "M15": (f"{_PLANS}a_plan_is_followed_step_by_step", f"{_PLANS}what_is_done_is_never_sent_again"),
    "M17": ("ledger/test_agreements.py::test_a_step_is_sent_once_at_a_time_and_so_often_at_most",),
    "M18": (f"{_APPROVALS}a_grant_is_used_once", f"{_APPROVALS}a_hundred_at_once_use_it_once"),
    "M20": (f"{_APPROVALS}the_first_answer_that_is_written_is_the_answer", "listeners/test_approvals.py::test_the_first_answer_counts"),
    "M21": (f"{_APPROVALS}who_may_not_answer", "listeners/test_approvals.py::test_who_may_not_answer"),
    "M23": (f"{_APPROVALS}at_most_ten_wait_for_an_answer",),
    "M24": (f"{_APPROVALS}what_the_policies_forbid_since_is_forbidden",),
    "M26": (f"{_FITTING}a_value_is_what_the_plan_has", f"{_FITTING}a_number_on_the_wire_is_the_number_of_the_plan"),
    "N01": (f"{_POLICIES}attacks.py::test_what_was_read_may_not_be_sent_on",),
    "N03": (f"{_POLICIES}attacks.py::test_a_field_is_held_to_its_pattern",),
    "N10": (f"{_POLICIES}attacks.py::test_a_refusal_tells_no_threshold",),
    "N04": Later("there are no loop limits in this version"),
    "N06": (f"{_CLIENT}what_is_not_in_exact_form_opens_no_connection", f"{_BUNDLE}an_operation_has_what_the_toolspec_says_of_it"),
    "N07": Later("there are no mocks in this version"),
    "N09": ("listeners/test_planned_runs.py::test_a_plan_is_of_its_run",),
    "N12": Later("each agent is given a token of its own; two processes that share one are not told apart in this version"),
    "O01": (f"{_LIMITS}slow_headers_are_cut_off",),
    "O03": (f"{_LIMITS}slow_body_is_cut_off",),
    "O04": (f"{_LIMITS}a_slow_reader_is_cut_off", f"{_LIMITS}a_deaf_peer_of_a_stream_frees_its_place"),
    "O06": (f"{_LIMITS}calls_beyond_the_places_wait_and_then_are_refused", f"{_LIMITS}connections_beyond_the_bound_are_told_so"),
    "O07": (
        f"{_SCHEMAS}wide_values_and_schemas_are_judged_at_once",
        "core/test_schema.py::test_alternatives_within_alternatives_are_explained_in_bounded_time",
        "core/test_signature.py::test_a_large_wrong_body_is_explained_at_a_bounded_cost",
    ),
    "O09": (f"{_LIMITS}the_log_of_wire_refusals_is_sampled",),
    "O10": ("listeners/test_metrics.py::test_random_paths_grow_no_series",),
    "O12": (f"{_PLANS}no_more_than_32_calls_of_a_run_are_held", "listeners/test_approvals.py::test_the_requester_sees_whether_it_may_go_on"),
    "O13": (f"{_POLICIES}gate.py::test_what_a_statement_reads_is_bounded", "core/test_policies.py::test_t10_lists_and_ids_are_bounded"),
    "P02": ("core/test_journal.py::test_the_longest_values_are_cut_and_the_others_stay",),
    "P03": ("core/test_journal.py::test_any_value_at_all_becomes_one_bounded_line", "core/test_journal.py::test_what_json_cannot_hold_is_represented"),
    "P05": (
        f"{_LEDGER}chain.py::test_each_kind_of_tampering_is_found_where_it_was_done",
        f"{_LEDGER}chain.py::test_two_rows_changing_places_is_found",
        f"{_LEDGER}chain.py::test_a_cut_tail_is_found_with_a_head",
        f"{_LEDGER}chain.py::test_any_changed_byte_of_any_line_is_found",
    ),
    "P06": (f"{_LEDGER}contract.py::test_the_journal_keeps_the_order_of_the_calls",),
    "P08": (
        "gateway/test_gateway.py::test_a_permitted_call_is_recorded_before_it_is_sent_and_finished_after",
        f"{_LEDGER}kill.py::test_everything_acknowledged_is_there_after_kill_9",
        f"{_LEDGER}files.py::test_a_killed_gate_loses_nothing_it_had_acknowledged",
    ),
    "P09": (
        f"{_LEDGER}files.py::test_a_symbolic_link_is_not_followed",
        f"{_LEDGER}files.py::test_files_are_private_whatever_the_umask",
        f"{_LEDGER}files.py::test_a_file_of_another_user_is_refused",
    ),
    **dict.fromkeys(("Q01", "Q02", "Q04", "Q05", "Q08", "Q10"), _DEPLOYED),
    "Q07": ("helm/test_chart.py::test_the_agent_mounts_nothing_of_the_sidecar",),
}  # fmt: skip
