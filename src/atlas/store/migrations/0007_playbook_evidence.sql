-- What a playbook's version says about itself: why it was written, since when its lessons act, what they did together.
ALTER TABLE playbooks ADD COLUMN about jsonb NOT NULL DEFAULT '{}';

ALTER TABLE playbook_audit DROP CONSTRAINT playbook_audit_what_check;
ALTER TABLE playbook_audit ADD CONSTRAINT playbook_audit_what_check
    CHECK (what IN ('approved', 'quarantined', 'rolled_back', 'imported'));

-- As before, with `about`.
CREATE OR REPLACE FUNCTION atlas_publish(books jsonb[], of_uid uuid, of_call uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    book jsonb;
    newest integer;
    written integer;
BEGIN
    IF EXISTS (
        SELECT FROM playbooks
        WHERE tenant = books[1] ->> 'tenant' AND key = books[1] ->> 'key' AND audience = books[1] ->> 'audience'
          AND version = (books[1] ->> 'version')::integer AND call = of_call
    ) THEN
        RETURN;
    END IF;
    FOREACH book IN ARRAY books LOOP
        SELECT coalesce(max(version), 0) INTO newest FROM playbooks
        WHERE tenant = book ->> 'tenant' AND key = book ->> 'key' AND audience = book ->> 'audience';
        written := 0;
        IF newest = (book ->> 'version')::integer - 1 THEN
            INSERT INTO playbooks (tenant, key, audience, version, entries, about, session, call, created_at)
            VALUES (book ->> 'tenant', book ->> 'key', book ->> 'audience', newest + 1, book -> 'entries',
                    book - ARRAY['tenant', 'key', 'audience', 'version', 'entries', 'created_at'], of_uid, of_call,
                    (book ->> 'created_at')::timestamptz)
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS written = ROW_COUNT;
        END IF;
        IF written = 0 THEN
            RAISE EXCEPTION 'stale' USING ERRCODE = 'ATL01', DETAIL = format('%s/%s/%s',
                book ->> 'tenant', book ->> 'key', book ->> 'audience');
        END IF;
    END LOOP;
END $$;
