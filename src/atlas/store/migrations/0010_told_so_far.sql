-- A session whose process died is listed with its lane and with what it has consumed until then.

CREATE OR REPLACE FUNCTION atlas_sweep() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    gone uuid[];
BEGIN
    WITH left_alone AS (
        UPDATE sessions s SET status = 'interrupted'
        WHERE s.status = 'running'
          AND NOT EXISTS (SELECT FROM leases l WHERE l.owner = s.lease_owner AND l.until > now())
        RETURNING s.uid)
    SELECT array_agg(uid) INTO gone FROM left_alone;
    IF gone IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM atlas_project(gone);
    UPDATE sessions SET status = 'interrupted' WHERE uid = ANY (gone) AND status = 'running';
    RETURN cardinality(gone);
END $$;
