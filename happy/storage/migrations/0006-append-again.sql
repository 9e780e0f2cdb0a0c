-- Appending is one statement that commits by itself, and may be run again when nobody knows whether it
-- did: a message that is there already under its own id is stored, not repeated (docs/architecture.md).
--
-- The caller sorts rows by (account, session), keeping the order of arrival inside a session; rows of
-- unknown or foreign sessions do not come back. Accounts are locked first, all of them, in ascending
-- order: every writer of either sequence does the same, so batches never deadlock with each other.
-- FOR NO KEY UPDATE leaves the foreign-key checks of other writers alone.
DROP FUNCTION happy_append_messages(text[], text[], text[], text[], text[], timestamp(3));

-- The usual batch, in which every message is new: all rows at once. Fails with unique_violation when one is
-- there already. What the planner may not use is what it would misjudge: it knows nothing of the arrays.
CREATE FUNCTION happy_append_new_messages(
    p_account text[], p_session text[], p_local text[], p_id text[], p_content text[], p_now timestamp(3)
)
RETURNS TABLE (o_row integer, o_id text, o_seq integer, o_account_seq integer)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH "Given" AS MATERIALIZED (
        SELECT g."row", g."account", g."session",
               s."seq" + (row_number() OVER (PARTITION BY g."session" ORDER BY g."row"))::integer AS "seq",
               a."seq" + (row_number() OVER (PARTITION BY g."account" ORDER BY g."row"))::integer AS "number"
          FROM unnest(p_account, p_session) WITH ORDINALITY AS g("account", "session", "row")
          JOIN "Session" AS s ON s."id" = g."session" AND s."accountId" = g."account"
          JOIN "Account" AS a ON a."id" = g."account"
    ), "Stored" AS (
        INSERT INTO "SessionMessage" ("id", "sessionId", "localId", "seq", "content", "createdAt", "updatedAt")
        SELECT p_id["row"], "session", p_local["row"], "seq",
               jsonb_build_object('t', 'encrypted', 'c', p_content["row"]), p_now, p_now
          FROM "Given"
    ), "Sessions" AS (
        UPDATE "Session" SET "seq" = "Last"."seq", "updatedAt" = p_now
          FROM (SELECT "session", max("seq") AS "seq" FROM "Given" GROUP BY 1 ORDER BY 1) AS "Last"
         WHERE "Session"."id" = "Last"."session"
    ), "Accounts" AS (
        UPDATE "Account" SET "seq" = "Last"."number", "updatedAt" = p_now
          FROM (SELECT "account", max("number") AS "number" FROM "Given" GROUP BY 1 ORDER BY 1) AS "Last"
         WHERE "Account"."id" = "Last"."account"
    )
    SELECT "row"::integer, p_id["row"], "seq", "number" FROM "Given";
END
$$;

-- The times of what is stored now are p_now, and left out. p_again tells that this very batch was sent
-- before. What it stored then has taken the account's latest numbers, since the caller lets nobody else
-- write to these accounts in between.
CREATE FUNCTION happy_append_messages(
    p_account text[], p_session text[], p_local text[], p_id text[], p_content text[], p_now timestamp(3),
    p_again boolean
)
RETURNS TABLE (
    o_row integer, o_new boolean, o_id text, o_seq integer, o_account_seq integer,
    o_created timestamp(3), o_updated timestamp(3)
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    account text;
    account_seq integer;
    account_new integer := 0;
    session text;
    session_seq integer;
    session_new integer := 0;
    session_known boolean := false;
BEGIN
    PERFORM 1 FROM "Account" WHERE "id" = ANY (p_account) ORDER BY "id" FOR NO KEY UPDATE;
    IF NOT p_again THEN
        BEGIN
            RETURN QUERY SELECT o_row, true, o_id, o_seq, o_account_seq, NULL::timestamp(3), NULL::timestamp(3)
                FROM happy_append_new_messages(p_account, p_session, p_local, p_id, p_content, p_now);
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            -- Then one by one.
        END;
    END IF;
    FOR k IN 1 .. cardinality(p_account) LOOP
        IF session IS DISTINCT FROM p_session[k] OR account IS DISTINCT FROM p_account[k] THEN
            IF session_new > 0 THEN
                UPDATE "Session" SET "seq" = session_seq, "updatedAt" = p_now WHERE "id" = session;
                session_new := 0;
            END IF;
            IF account IS DISTINCT FROM p_account[k] THEN
                IF account_new > 0 THEN
                    UPDATE "Account" SET "seq" = account_seq, "updatedAt" = p_now WHERE "id" = account;
                    account_new := 0;
                END IF;
                account := p_account[k];
                SELECT "seq" INTO account_seq FROM "Account" WHERE "id" = account;
                IF p_again THEN
                    SELECT account_seq - count(*) INTO account_seq
                        FROM unnest(p_account, p_id) AS "Given"("account", "message")
                        JOIN "SessionMessage" ON "SessionMessage"."id" = "Given"."message"
                        WHERE "Given"."account" = account;
                END IF;
            END IF;
            session := p_session[k];
            SELECT "seq" INTO session_seq FROM "Session" WHERE "id" = session AND "accountId" = account;
            session_known := FOUND;
        END IF;
        CONTINUE WHEN NOT session_known;
        o_row := k;
        INSERT INTO "SessionMessage" ("id", "sessionId", "localId", "seq", "content", "createdAt", "updatedAt")
            VALUES (p_id[k], session, p_local[k], session_seq + 1,
                    jsonb_build_object('t', 'encrypted', 'c', p_content[k]), p_now, p_now)
            ON CONFLICT DO NOTHING;
        IF FOUND THEN
            session_seq := session_seq + 1;
            session_new := session_new + 1;
            account_seq := account_seq + 1;
            account_new := account_new + 1;
            o_new := true;
            o_id := p_id[k];
            o_seq := session_seq;
            o_account_seq := account_seq;
            o_created := NULL;
            o_updated := NULL;
        ELSE
            SELECT "id", "seq", "createdAt", "updatedAt" INTO o_id, o_seq, o_created, o_updated
                FROM "SessionMessage" WHERE "id" = p_id[k];
            o_new := FOUND;
            IF o_new THEN
                account_seq := account_seq + 1;
                o_account_seq := account_seq;
            ELSE
                SELECT "id", "seq", "createdAt", "updatedAt" INTO o_id, o_seq, o_created, o_updated
                    FROM "SessionMessage" WHERE "sessionId" = session AND "localId" = p_local[k];
                o_account_seq := NULL;
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF session_new > 0 THEN
        UPDATE "Session" SET "seq" = session_seq, "updatedAt" = p_now WHERE "id" = session;
    END IF;
    IF account_new > 0 THEN
        UPDATE "Account" SET "seq" = account_seq, "updatedAt" = p_now WHERE "id" = account;
    END IF;
END
$$;
