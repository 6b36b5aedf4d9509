"""Faults that tests elsewhere hold, and those that can't be met here.

R1 to R50 are the rows of the model of faults of long runs; A7 to C23 faults that were found by use.
"""

E2E, STUDY, MODELS = "e2e/", "integration/study/", "integration/models/"
METHODS, JUDGES, UNIT = "integration/methods/", "integration/judges/", "unit/"
RESUME = METHODS + "test_methods_resume.py::"
CHECKPOINTS = UNIT + "methods/test_methods_checkpoints.py::"
RUNNER, STORE = UNIT + "study/test_runner.py::", UNIT + "study/test_store.py::"
FOLDER, SOURCES = UNIT + "study/test_run_folder.py::", UNIT + "study/test_reading_sources.py::"
SECRETS, HUB = UNIT + "study/test_secrets.py::", MODELS + "test_hub_sources.py::"
LOADING, CLI = MODELS + "test_loading.py::", STUDY + "test_cli_faults.py::"
PARALLEL, HOSTILE = STUDY + "test_parallel.py::", UNIT + "report/test_hostile_text.py::"
ENGINE, TORTURE = E2E + "test_engine.py::", E2E + "test_torture.py::"
STRANGERS = MODELS + "test_folders_from_strangers.py::"
TEMPLATES = MODELS + "test_templates_from_strangers.py::"
MACHINE = UNIT + "runtime/test_machine_faults.py::"

TESTS = {
    "R1": [TORTURE + "test_a_sample_of_torture_is_survived",
           RESUME + "test_killed_by_sigkill_and_continued_is_the_same_to_the_bit"],
    "R2": [TORTURE + "test_a_sample_of_torture_is_survived",
           FOLDER + "test_a_kill_at_any_write_leaves_what_the_next_run_finishes"],
    "R3": [STORE + "test_a_killed_writers_rest_is_swept_by_the_next",
           FOLDER + "test_b3_what_a_kill_left_half_written_is_swept_by_the_next_run"],
    "R4": [ENGINE + "test_a_polite_stop_says_so_and_the_same_command_finishes",
           PARALLEL + "test_a_stop_reaches_every_process",
           PARALLEL + "test_a_second_ctrl_c_ends_every_process_at_once"],
    "R5": [RESUME + "test_a_stop_is_saved_however_soon_it_comes"],
    "R6": [CHECKPOINTS + "test_every_damage_is_seen_and_set_aside",
           RESUME + "test_a_damaged_checkpoint_costs_its_steps_but_not_the_result"],
    "R7": [STORE + "test_edge_case_14_one_flipped_bit_is_seen_and_the_artefact_set_aside",
           CHECKPOINTS + "test_a9_no_flipped_bit_of_a_seal_is_believed",
           E2E + "test_verify.py::test_every_one_of_200_random_changes_is_found"],
    "R8": [CHECKPOINTS + "test_every_damage_is_seen_and_set_aside"],
    "R9": [RUNNER + "test_edge_case_15_a_change_runs_what_hangs_on_it_and_nothing_else",
           RUNNER + "test_a_plan_says_what_changed"],
    "R10": [RESUME + "test_edge_case_15_a_checkpoint_of_other_settings_is_not_gone_on_from"],
    "R12": [RUNNER + "test_numeric_stages_carry_the_libraries_versions",
            CHECKPOINTS + "test_checkpoints_of_other_library_versions_are_not_used"],
    "R13": [RUNNER + "test_the_version_and_the_device_are_part_of_the_key"],
    "R14": [RUNNER + "test_edge_case_28_a_full_disk_is_the_machines_fault",
            STUDY + "test_wrong_studies.py::test_a_disk_that_is_too_small_is_refused"],
    "R15": [CLI + "test_out_cannot_be_written", CLI + "test_the_home_cannot_be_written",
            CLI + "test_a_folder_without_permission"],
    "R16": [CLI + "test_edge_case_28_two_processes_on_one_run"],
    "R17": [RUNNER + "test_two_processes_make_one_artefact_once"],
    "R19": [CHECKPOINTS
            + "test_rotation_keeps_the_newest_and_numbers_are_not_sorted_as_words"],
    "R20": [METHODS + "test_exactness_training.py"
            "::test_want_of_memory_makes_pieces_smaller_and_changes_nothing_else",
            METHODS + "test_exactness_training.py"
            "::test_memory_that_never_suffices_is_said_in_words"],
    "R21": [JUDGES + "test_judges_unusual_input.py"
            "::test_edge_case_22_want_of_memory_halves_the_batch_and_nothing_else",
            "integration/generation/test_generation.py"
            "::test_memory_shortage_halves_the_batch_and_keeps_results"],
    "R22": [PARALLEL + "test_a_killed_worker_ends_the_run_with_words_and_the_next_run_goes_on"],
    "R23": [METHODS + "test_methods_guarded.py"
            "::test_non_finite_values_stop_at_their_step_with_the_rows_of_all_micro_batches"],
    "R24": [METHODS + "test_loss_jumps.py::test_a_row_unlike_all_others_is_named_with_its_step"],
    "R25": [JUDGES + "test_judges_unusual_input.py"
            "::test_edge_case_07_a_score_that_is_not_finite_is_missing_with_its_reason",
            UNIT + "judges/test_judge_quality.py"
            "::test_edge_case_16_a_constant_judge_is_at_chance_and_nothing_divides_by_zero"],
    "R26": [JUDGES + "test_judges_heads.py::test_edge_case_10_several_labels_need_a_choice",
            JUDGES + "test_judges_heads.py::test_edge_case_11_a_head_of_another_shape_is_refused"],
    "R30": [UNIT + "data/test_data_reading.py::test_a_bomb_is_refused_while_it_is_read"],
    "R35": [HUB + "test_what_the_hub_does_not_have_is_said",
            CLI + "test_a_hub_id_without_a_network"],
    "R36": [HUB + "test_a_cached_id_is_its_main_branchs_commit",
            STUDY + "test_existing_models.py::test_a_hub_id_is_pinned_to_its_commit"],
    "R37": [LOADING + "test_remote_code_is_refused", LOADING + "test_pickle_with_code_is_refused",
            STRANGERS + "test_configurations"],
    "R38": [LOADING + "test_adapter_of_another_base_is_refused",
            LOADING + "test_adapter_with_missing_weights_is_refused",
            LOADING + "test_adapter_needs_its_record_and_its_base"],
    "R39": [MODELS + "test_templates.py::test_a_chat_template_that_is_not_there_is_refused",
            TEMPLATES + "test_c6_a_template_without_bounds_is_refused"],
    "R40": [LOADING + "test_devices", STUDY + "test_wrong_studies.py"
            "::test_a_wrong_study_is_refused_before_anything_runs"],
    "R44": [HOSTILE + "test_in_html_it_adds_no_tag_no_attribute_and_no_bad_character",
            HOSTILE + "test_in_markdown_it_adds_no_block_no_link_and_no_markup",
            HOSTILE + "test_in_csv_it_stays_one_cell_that_no_spreadsheet_runs"],
    "R47": [UNIT + "study/test_label_sheet.py::test_nothing_in_a_sheet_tells_who_wrote_what"],
    "R48": [SECRETS + "test_b4_a_study_is_kept_without_the_secrets_of_its_comments_and_values",
            SECRETS + "test_what_is_printed_holds_none"],
    "R49": [E2E + "test_report_in_browser.py"
            "::test_hostile_text_runs_nothing_adds_nothing_and_asks_for_nothing",
            E2E + "test_report_in_browser.py::test_it_opens_within_three_seconds"],
    "R50": [STORE + "test_a_newer_manifest_is_refused_by_name",
            FOLDER + "test_a_run_of_an_earlier_version_is_read_and_said_to_be_unchecked"],
    "A7": [SOURCES + "test_a7_links_that_lead_outside_are_refused_not_skipped",
           SOURCES + "test_no_digest_of_nothing"],
    "A8": [STORE + "test_a8_artefacts_in_each_others_places_are_damage"],
    "A9": [STORE + "test_a9_no_flipped_bit_of_a_manifest_is_believed_or_sticks",
           CHECKPOINTS + "test_a9_no_flipped_bit_of_a_seal_is_believed"],
    "A10": [STRANGERS + "test_a10_weights_in_parts_are_the_ones_that_are_hashed",
            STRANGERS + "test_a10_the_hubs_own_links_are_followed_and_no_others",
            STRANGERS + "test_a10_no_name_leads_out_of_the_folder"],
    "A12": [FOLDER + "test_a12_results_of_former_settings_are_said_to_be_stale"],
    "A15": [SOURCES + "test_a15_a_source_that_changes_while_it_is_read_leaves_no_artefact"],
    "B1": [FOLDER + "test_b1_nothing_is_written_or_removed_behind_a_link"],
    "B2": [STORE + "test_b2_files_get_the_mode_that_the_umask_says",
           STUDY + "test_shared_store.py::test_b2_two_users_of_a_group_share_a_store"],
    "B3": [FOLDER + "test_b3_what_a_kill_left_half_written_is_swept_by_the_next_run"],
    "B4": [SECRETS + "test_b4_a_study_is_kept_without_the_secrets_of_its_comments_and_values"],
    "C4": [STRANGERS + "test_configurations",
           STRANGERS + "test_c4_a_tokenizer_that_gives_up_on_a_text_is_no_traceback"],
    "C5": [STRANGERS + "test_configurations", STRANGERS + "test_adapters"],
    "C6": [TEMPLATES + "test_c6_a_template_without_bounds_is_refused",
           TEMPLATES + "test_c6_a_template_that_fails_refuses_the_dialogue",
           TEMPLATES + "test_c6_a_judge_s_template_is_bounded_too"],
    "C7": [STRANGERS + "test_weights"],
    "C8": [STUDY + "test_wrong_studies.py::test_a_wrong_study_is_refused_before_anything_runs"],
    "C9": [LOADING
           + "test_roberta_reads_as_many_tokens_as_it_has_positions_after_padding"],
    "C11": [MACHINE + "test_c11_faults_of_the_machine_are_told_in_words"],
    "C14": [UNIT + "data/test_data_formats.py::test_an_empty_system_turn_is_none"],
    "C22": [FOLDER + "test_c22_links_beside_our_files_are_left_alone"],
    "C23": [STORE + "test_c23_damage_of_another_studys_artefact_is_not_this_ones_problem"],
}  # fmt: skip
"""Fault -> the tests that hold it, beside the rows of the table."""

NOT_HERE = {
    "R18": "no network file system can be told apart here; nothing rests on a lock alone: R17",
    "R41": "no training over several processes that could lose one: a run is one process a model",
    "R45": "no judge is asked in words: judges are classifiers and rules, which obey no text",
    "R46": "no server: the report is a file, and labels are a sheet",
}
"""Fault -> why nothing here can have it."""
