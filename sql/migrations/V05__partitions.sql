-- Daily partitions of what grows with time: made ahead of the rows, dropped when their time is over.
--
-- A partition is named after its day in UTC, PARENT_pYYYYMMDD. It is made apart and then attached, which leaves readers and writers of
-- the parent alone (CREATE TABLE … PARTITION OF would lock them out). Partition keys are timestamptz or bigint nanoseconds.

SET LOCAL ROLE wt_owner;

-- The bound of a day as a literal of the parent's key.
CREATE FUNCTION wt.day_bound(p_day date, p_type regtype) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN p_type = 'bigint'::regtype THEN format('%s', (p_day - date '1970-01-01')::bigint * 86400000000000)
            ELSE quote_literal(to_char(p_day, 'YYYY-MM-DD') || ' 00:00:00+00') END;

-- Makes the missing partitions from one day to another, both included; returns how many were made.
CREATE FUNCTION wt.ensure_days(p_parent regclass, p_from date, p_to date) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schema name;
    v_table name;
    v_type regtype;
    v_day date;
    v_name text;
    v_made integer := 0;
BEGIN
    IF p_from IS NULL OR p_to IS NULL OR p_from < date '1970-01-01' OR p_to > date '2200-01-01' THEN
        RAISE EXCEPTION 'days % to % of % are out of range', p_from, p_to, p_parent
            USING ERRCODE = 'datetime_field_overflow', HINT = 'Time stamps must lie between 1970 and 2200.';
    END IF;
    IF p_to - p_from > 3660 THEN
        RAISE EXCEPTION 'a batch of % spans % days, above the limit of 3660', p_parent, p_to - p_from
            USING ERRCODE = 'program_limit_exceeded', HINT = 'Send smaller batches.';
    END IF;
    SELECT n.nspname, c.relname, a.atttypid::regtype INTO STRICT v_schema, v_table, v_type
    FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = p_parent;
    FOR v_day IN SELECT d::date FROM generate_series(p_from::timestamp, p_to::timestamp, interval '1 day') d LOOP
        v_name := v_table || '_p' || to_char(v_day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(format('%I.%I', v_schema, v_name)) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtextextended('wt.ensure_days ' || p_parent::oid::text, 0));
        -- Another session may have made it while we waited.
        CONTINUE WHEN to_regclass(format('%I.%I', v_schema, v_name)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', v_schema, v_name, p_parent);
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%s) TO (%s)', p_parent, v_schema, v_name,
            wt.day_bound(v_day, v_type), wt.day_bound(v_day + 1, v_type));
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END $$;

-- Drops the partitions of days before p_before; returns how many.
CREATE FUNCTION wt.drop_days(p_parent regclass, p_before date) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_part record;
    v_n integer := 0;
BEGIN
    FOR v_part IN
        SELECT c.oid::regclass AS part, substring(c.relname FROM '_p([0-9]{8})$') AS day
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = p_parent ORDER BY c.relname
    LOOP
        CONTINUE WHEN v_part.day IS NULL OR to_date(v_part.day, 'YYYYMMDD') >= p_before;
        EXECUTE format('DROP TABLE %s', v_part.part);
        v_n := v_n + 1;
    END LOOP;
    RETURN v_n;
END $$;
RESET ROLE;
