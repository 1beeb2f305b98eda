-- A lease that ran out is lost when another takes the command, and not before: until then its number still fences, and an answer that is late counts. On a machine so busy
-- that every answer is late, commands were sent again and again, and none ended.

SET LOCAL ROLE wt_owner;

-- Extends a lease that nobody else has taken.
CREATE OR REPLACE FUNCTION north.renew(p_id bigint, p_lease bigint, p_seconds double precision DEFAULT 30) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE north.command SET leased_until = clock_timestamp() + make_interval(secs => least(greatest(p_seconds, 0.05), 3600))
    WHERE id = p_id AND lease = p_lease AND state = 'leased';
    RETURN FOUND;
END $$;

-- The device has applied a command: ends it and records what the device is now. False when another has taken it, or it was superseded: then nothing
-- changes but an event that says so.
CREATE OR REPLACE FUNCTION north.ack(p_id bigint, p_lease bigint, p_observed jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c north.command;
    v_event bigint;
BEGIN
    UPDATE north.command SET state = 'done', lease = NULL, leased_until = NULL, error = NULL, ended_at = clock_timestamp()
    WHERE id = p_id AND lease = p_lease AND state = 'leased'
    RETURNING * INTO c;
    IF NOT FOUND THEN
        SELECT * INTO c FROM north.command WHERE id = p_id;
        PERFORM prov.append('stale', 'north.command', 1, ARRAY[c.device || ',' || c.kind || ',' || c.name], NULL,
            jsonb_build_object('gen', c.gen, 'lease', p_lease, 'observed', p_observed), p_tenant => c.tenant, p_link => c.event) WHERE c.id IS NOT NULL;
        RETURN false;
    END IF;
    v_event := prov.append('device', c.device || '/' || c.kind || '/' || c.name, 1, ARRAY[c.device || ',' || c.kind || ',' || c.name], c.body,
        p_observed, p_tenant => c.tenant, p_link => c.event);
    PERFORM prov.push(v_event);
    UPDATE net.object o SET observed = p_observed, observed_gen = c.gen, observed_at = clock_timestamp(), error = NULL
    WHERE o.device = c.device AND o.kind = c.kind AND o.name = c.name AND o.observed_gen <= c.gen;
    UPDATE net.device d SET seen_at = clock_timestamp() WHERE d.device = c.device AND d.seen_at < clock_timestamp() - interval '10 s' IS NOT FALSE;
    PERFORM prov.pop();
    RETURN true;
END $$;

-- The device refused or did not answer. p_after is what it asked for (Retry-After), p_final that trying again is pointless.
-- Returns the command's state, or NULL when another has taken it.
CREATE OR REPLACE FUNCTION north.nack(p_id bigint, p_lease bigint, p_error text, p_after interval DEFAULT NULL, p_final boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c north.command;
    v_state text;
BEGIN
    SELECT * INTO c FROM north.command
    WHERE id = p_id AND lease = p_lease AND state = 'leased' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_state := CASE
        WHEN EXISTS (SELECT FROM north.command k WHERE k.device = c.device AND k.kind = c.kind AND k.name = c.name AND k.gen > c.gen) THEN 'superseded'
        WHEN p_final OR c.attempts >= north.attempts_max() THEN 'failed'
        ELSE 'pending' END;
    UPDATE north.command SET state = v_state, lease = NULL, leased_until = NULL, error = left(p_error, 2000),
        next_at = clock_timestamp() + greatest(north.backoff(c.attempts), least(coalesce(p_after, interval '0'), interval '60 s')),
        ended_at = CASE WHEN v_state <> 'pending' THEN clock_timestamp() END
    WHERE id = p_id;
    UPDATE net.object o SET error = left(p_error, 2000) WHERE o.device = c.device AND o.kind = c.kind AND o.name = c.name AND v_state = 'failed';
    IF v_state = 'failed' THEN
        PERFORM prov.append('failed', 'north.command', 1, ARRAY[c.device || ',' || c.kind || ',' || c.name], NULL,
            jsonb_build_object('gen', c.gen, 'attempts', c.attempts, 'error', left(p_error, 2000)), p_tenant => c.tenant, p_link => c.event);
    END IF;
    RETURN v_state;
END $$;
RESET ROLE;
