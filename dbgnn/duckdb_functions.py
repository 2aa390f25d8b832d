"""Which of DuckDB's functions a filter or a query may call: lists of names, read by hand.

A function that stands in no list is refused, so that a newer DuckDB's functions are not allowed before somebody has read what
they do; `tests/trust/test_duckdb_functions.py` fails for those. Functions of extensions and macros of the file are not here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import duckdb

#: Scalar functions that depend on their arguments alone, act on nothing, and take no name of a type, a setting or a table as a
#: value: what a filter may call. `json_transform(s, '{"a": "INET"}')` would load the extension that has the type.
_OF_THE_ROW = """
    != !~~ !~~* % & && * ** + - ->> / // < <-> << <= <=> <@ = > >= >> @ @> ^ ^@ | || ~ ~~ ~~* ~~~ !__postfix
    abs acos acosh add age ascii asin asinh atan atan2 atanh base64 bin binom bit_count bit_length bit_position
    cardinality cbrt ceil ceiling century char_length character_length chr concat concat_ws contains cos cosh cot
    date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear
    decade decode degrees divide editdist3 element_at encode ends_with enum_code enum_first enum_last enum_range
    enum_range_boundary epoch epoch_ms epoch_ns epoch_us era even exp factorial flatten floor fmod formatreadabledecimalsize
    formatreadablesize format_bytes from_base64 from_binary from_hex gamma gcd get_bit grade_up greatest
    greatest_common_divisor hamming hash hex hour ilike_escape instr isfinite isinf isnan isodow isoyear jaccard
    jaro_similarity jaro_winkler_similarity julian last_day lcase lcm least least_common_multiple left left_grapheme len
    length length_grapheme levenshtein lgamma like_escape ln log log10 log2 lower ltrim make_date make_time make_timestamp
    make_timestamp_ms make_timestamp_ns map map_concat map_contains map_entries map_extract map_extract_value
    map_from_entries map_keys map_values md5 md5_number microsecond millennium millisecond minute mismatches mod month
    monthname multiply nanosecond nextafter nfc_normalize normalized_interval not_ilike_escape not_like_escape octet_length
    ord overlay parse_dirname parse_dirpath parse_filename parse_formatted_bytes parse_path path_join pi position pow power
    prefix quarter radians regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
    regexp_split_to_array replace reverse right right_grapheme round round_even roundbankers row row_to_json rtrim second
    set_bit sha1 sha256 sign signbit sin sinh split sqrt starts_with str_split str_split_regex strftime string_split
    string_split_regex string_to_array strip_accents strlen strpos strptime substr substring substring_grapheme subtract
    suffix switch tan tanh time_bucket timezone_hour timezone_minute to_base64 to_binary to_centuries to_days to_decades
    to_hex to_hours to_json to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds
    to_timestamp to_weeks to_years translate trim trunc try_strptime typeof ucase unbin unhex unicode upper url_decode
    url_encode uuid_extract_timestamp uuid_extract_version week weekday weekofyear xor year yearweek
    aggregate apply filter reduce array_aggr array_aggregate array_apply array_cat array_concat array_contains
    array_cosine_distance array_cosine_similarity array_cross_product array_distance array_distinct array_dot_product
    array_extract array_filter array_grade_up array_has array_has_all array_has_any array_indexof array_inner_product
    array_intersect array_length array_negative_dot_product array_negative_inner_product array_position array_reduce
    array_reverse_sort array_select array_slice array_sort array_to_json array_transform array_unique array_value array_where
    array_zip list_aggr list_aggregate list_apply list_cat list_concat list_contains list_cosine_distance
    list_cosine_similarity list_distance list_distinct list_dot_product list_element list_extract list_filter list_grade_up
    list_has list_has_all list_has_any list_indexof list_inner_product list_intersect list_negative_dot_product
    list_negative_inner_product list_pack list_position list_reduce list_reverse_sort list_select list_slice list_sort
    list_transform list_unique list_value list_where list_zip
    struct_concat struct_contains struct_extract struct_extract_at struct_has struct_indexof struct_insert struct_keys
    struct_pack struct_position struct_update struct_values union_extract union_tag union_value
    json_array json_array_length json_contains json_deep_merge json_exists json_extract json_extract_path
    json_extract_path_text json_extract_string json_insert json_keys json_merge_patch json_merge_patch_diff json_normalize
    json_object json_pretty json_quote json_remove json_replace json_set json_strip_nulls json_structure json_type json_valid
    json_value variant_array_length variant_contains variant_exists variant_extract variant_extract_string variant_keys
    variant_type variant_typeof
"""

#: Scalar functions of the row whose result is as large as an argument says. Which arguments those are, by position.
SIZED = {
    **dict.fromkeys("lpad rpad repeat list_resize array_resize bitstring".split(), (1,)),
    "to_base": (2,),
    "bar": (3,),
}
#: Those whose result is as wide as the text of their first argument says.
FORMATTING = frozenset({"format", "printf"})
#: Those that make a list of numbers from one to another.
RANGES = frozenset({"range", "generate_series"})

#: Macros of DuckDB's own that compute a value from their arguments.
_MACROS_OF_THE_ROW = """
    array_append array_pop_back array_pop_front array_prepend array_push_back array_push_front array_reverse array_to_string
    date_add days_in_month fdiv if json list_any_value list_append list_approx_count_distinct list_avg list_bit_and
    list_bit_or list_bit_xor list_bool_and list_bool_or list_count list_entropy list_first list_histogram list_kurtosis
    list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode list_prepend list_product list_reverse
    list_sem list_skewness list_stddev_pop list_stddev_samp list_string_agg list_sum list_var_pop list_var_samp
    map_contains_entry map_contains_value md5_number_lower md5_number_upper nullif split_part
"""

#: Functions whose second argument is the name of the aggregate to apply to a list, and those aggregates.
LIST_AGGREGATES = frozenset("aggregate array_aggr array_aggregate list_aggr list_aggregate".split())
_AGGREGATES_OF_LISTS = """
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary array_agg avg bit_and bit_or bit_xor bool_and
    bool_or count count_if countif entropy favg first fsum group_concat histogram kahan_sum kurtosis kurtosis_pop last list
    listagg mad max mean median min mode product quantile quantile_cont quantile_disc sem skewness stddev stddev_pop
    stddev_samp string_agg sum sumkahan var_pop var_samp variance
"""

#: Functions that fold a list by a lambda. What the lambda calls must not make the value longer with every element.
FOLDS = frozenset("reduce array_reduce list_reduce".split())
#: What it may call.
OF_A_FOLD = frozenset(
    "!= % & * ** + - / // < << <= = > >= >> ^ | xor abs add subtract multiply divide mod pow power greatest least round floor "
    "ceil ceiling trunc sign isnan isfinite isinf ln log exp sqrt struct_extract list_extract array_extract if nullif len "
    "length".split()
)

#: Functions that take a lambda. DuckDB binds what stands in one twice, and in one within it four times.
LAMBDAS = frozenset(
    "apply filter reduce list_apply list_filter list_reduce list_transform array_apply array_filter array_reduce "
    "array_transform".split()
)

#: Further functions, of any kind, that read and do nothing else: what a query may call beside those of the row.
_READING = """
    ago alias any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_max_nulls_last
    arg_min arg_min_null arg_min_nulls_last argmax argmin array_agg array_to_string_comma_default assert_true avg bit_and
    bit_or bit_xor bitstring_agg bitstring_byte_comparable bool_and bool_or can_cast_implicitly cast_to_type col_description
    collations combine combine_aggr constant_or_null corr count count_if count_star countif covar_pop covar_samp
    create_sort_key cume_dist current_catalog current_connection_id current_database current_date current_localtime
    current_localtimestamp current_query current_query_id current_role current_schema current_schemas current_setting
    current_transaction_id current_user currval damerau_levenshtein database_list database_size decimal_average
    decimal_division dense_rank duckdb_approx_database_count duckdb_available_metrics duckdb_columns duckdb_connection_count
    duckdb_constraints duckdb_coordinate_systems duckdb_databases duckdb_dependencies duckdb_dialects duckdb_eviction_queues
    duckdb_extension_repositories duckdb_extensions duckdb_external_file_cache duckdb_external_resource_types
    duckdb_external_resources duckdb_functions duckdb_grammar_extensions duckdb_indexes duckdb_keywords
    duckdb_live_query_metrics duckdb_log_contexts duckdb_logs duckdb_logs_parsed duckdb_memory duckdb_optimizers
    duckdb_prepared_statements duckdb_profiling_settings duckdb_schemas duckdb_secret_type_parameters duckdb_secret_types
    duckdb_secrets duckdb_sequences duckdb_settings duckdb_table_sample duckdb_tables duckdb_temporary_files duckdb_triggers
    duckdb_types duckdb_variables duckdb_views entropy equi_width_bins error extension_versions favg fill finalize first
    first_value format_pg_type format_type from_json from_json_strict fsum functions gen_random_uuid generate_subscripts
    geomean geometric_mean get_block_size get_current_time get_current_timestamp get_type getvariable glob group_concat
    has_any_column_privilege has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege
    has_function_privilege has_language_privilege has_schema_privilege has_sequence_privilege has_server_privilege
    has_table_privilege has_tablespace_privilege histogram histogram_exact histogram_values hive_partition_component
    icu_calendar_names icu_sort_key in_search_path index_key inet_client_addr inet_client_port inet_server_addr
    inet_server_port invoke is_histogram_other_bin json_copy_strftime_if_date json_copy_strftime_if_timestamp
    json_deserialize_sql json_each json_group_array json_group_object json_group_structure json_serialize_sql json_transform
    json_transform_strict json_tree kahan_sum kurtosis kurtosis_pop lag last last_value lead list listagg lttb mad
    make_timestamptz make_type map_to_pg_oid map_type_id_to_pg_oid max max_by mean median metadata_info min min_by mode now
    nth_value ntile obj_description parquet_bloom_probe parquet_file_metadata parquet_full_metadata parquet_kv_metadata
    parquet_metadata parquet_page_index parquet_scan parquet_schema parse_duckdb_log_message percent_rank
    pg_collation_is_visible pg_conf_load_time pg_conversion_is_visible pg_function_is_visible pg_get_constraintdef
    pg_get_expr pg_get_viewdef pg_has_role pg_is_other_temp_schema pg_my_temp_schema pg_opclass_is_visible
    pg_operator_is_visible pg_opfamily_is_visible pg_postmaster_start_time pg_size_pretty pg_table_is_visible
    pg_timezone_names pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible
    pg_type_is_visible pg_typeof platform pragma_collations pragma_database_size pragma_metadata_info pragma_platform
    pragma_show pragma_storage_info pragma_table_info pragma_user_agent pragma_version product quantile quantile_cont
    quantile_disc random rank rank_dense read_blob read_csv read_csv_auto read_duckdb read_json read_json_auto
    read_json_objects read_json_objects_auto read_ndjson read_ndjson_auto read_ndjson_objects read_parquet
    read_single_csv_file read_single_json_file read_single_parquet_file read_text regexp_split_to_table regr_avgx regr_avgy
    regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy remap_struct repeat_row replace_type
    reservoir_quantile row_number sem session_user shobj_description show show_databases show_tables show_tables_expanded
    skewness sniff_csv st_asbinary st_asgeojson st_astext st_aswkb st_aswkt st_crs st_geomfromgeojson st_geomfromwkb
    st_intersects_extent st_setcrs stats stddev stddev_pop stddev_samp storage_info string_agg sum sum_no_overflow sumkahan
    summary table_info test_all_types test_vector_types timetz_byte_comparable timezone to_aggregate_state today
    transaction_timestamp txid_current unnest unpivot_list user user_agent uuid uuidv4 uuidv7 var_pop var_samp variance
    variant_bytes_to_variant variant_comparator variant_group_array variant_group_object variant_normalize
    variant_to_parquet_variant vector_type version vertex_extract wavg weighted_avg which_secret
"""
#: Families of such functions: as many as there are languages, and DuckDB's inner ones.
_READING_FAMILIES = re.compile(r"(icu_)?collate_\w+|__\w+|is (not )?distinct from")

#: Functions that do something, wait, run SQL that nobody has looked at, or take addresses of memory.
_ACTING = """
    add_grammar_extension add_parquet_key arrow_scan arrow_scan_dumb checkpoint copy_database create_external_resource
    deregister_external_resource destroy_external_resource disable_checkpoint_on_shutdown disable_logging
    disable_object_cache disable_optimizer disable_print_progress_bar disable_profile disable_profiling disable_progress_bar
    disable_verification disable_verify_parallelism enable_checkpoint_on_shutdown enable_logging enable_object_cache
    enable_optimizer enable_print_progress_bar enable_profile enable_profiling enable_progress_bar enable_verification
    force_checkpoint import_database json_execute_serialized_sql nextval pandas_scan pg_sleep python_arrow_scan
    python_map_function query query_table register_external_resource register_external_resource_type remove_grammar_extension
    seq_scan setseed setval sleep_ms truncate_duckdb_logs verify_parallelism write_log json_serialize_plan
"""
#: Functions of extensions that send SQL elsewhere, or do something.
_ACTING_OF_EXTENSIONS = re.compile(r"(sqlite|postgres|mysql|mssql|odbc)_(attach|query|exec.*|configure.*|clear.*)")

OF_THE_ROW = frozenset((*_OF_THE_ROW.split(), *SIZED, *FORMATTING, *RANGES))
MACROS_OF_THE_ROW = frozenset(_MACROS_OF_THE_ROW.split())
AGGREGATES_OF_LISTS = frozenset(_AGGREGATES_OF_LISTS.split())
READING = frozenset(_READING.split())
ACTING = frozenset(_ACTING.split())


@dataclass(frozen=True, slots=True)
class Builtin:
    """What this DuckDB brings.

    Attributes:
        names: The names of all its functions, of whatever kind, in lower case.
        macros: The names within the definitions of those macros of its own that a filter may call, those of macros that they
            call included: a macro of the file that has such a name is called there too.
        collations: The names of its collations.
    """

    names: frozenset[str]
    macros: dict[str, frozenset[str]]
    collations: frozenset[str]


@cache
def listed() -> list[tuple[str, str, str | None]]:
    """Return the names, in lower case, of what this DuckDB brings, what each is, and of its macros the definition.

    The kinds are those of ``duckdb_functions()``, ``type`` and ``collation``. A connection of its own is asked: in one of the
    user's, functions of Python count as DuckDB's.
    """
    with duckdb.connect(":memory:", config={"threads": "1"}) as con:
        return con.execute(
            """
            SELECT lower(function_name), function_type, macro_definition FROM duckdb_functions()
            UNION ALL
            SELECT lower(type_name), 'type', NULL FROM duckdb_types()
            UNION ALL
            SELECT lower(collname), 'collation', NULL FROM pragma_collations()
            """
        ).fetchall()


@cache
def builtin() -> Builtin:
    """Return what this DuckDB brings for filters."""
    macros: dict[str, set[str]] = {}
    for name, kind, definition in listed():
        if definition is not None and kind == "macro" and name in MACROS_OF_THE_ROW:
            macros.setdefault(name, set()).update(re.findall(r"\w+|[-+*/<>=~!@%^&|]+", definition))
    for _ in range(3):  # macros that call macros
        for names in macros.values():
            names.update(*(macros[n] for n in names & macros.keys()))
    return Builtin(
        frozenset(name for name, kind, _ in listed() if kind not in {"type", "collation"}),
        {name: frozenset(names) for name, names in macros.items()},
        frozenset(name for name, kind, _ in listed() if kind == "collation"),
    )


def acts(name: str) -> bool:
    """Whether a function, by its name in lower case, may do more than read: it is known to, or is new in this DuckDB."""
    if name in ACTING or _ACTING_OF_EXTENSIONS.fullmatch(name):
        return True
    return name in builtin().names and not is_known(name)


def is_known(name: str) -> bool:
    """Whether a function of DuckDB's own stands in one of the lists of this file."""
    known = OF_THE_ROW, MACROS_OF_THE_ROW, READING, ACTING
    return any(name in names for names in known) or _READING_FAMILIES.fullmatch(name) is not None
