-- Which batch each writer appended last: how the outcome of an append is found out whose answer was lost.
-- "numbers" has the account's numbers that messages of the batch took, in the order of the batch; "rows" says
-- which messages those were, counted from 1, and is null where it was all of them. A batch without numbers
-- was given up: it was not stored, and cannot be any more. A row is rewritten by every batch, so room is left
-- to do that in place, and the arrays stay in the row.
CREATE TABLE "happy_appended" (
    "writer" TEXT NOT NULL,
    "batch" BIGINT NOT NULL,
    "numbers" INTEGER[],
    "rows" INTEGER[],
    "at" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "happy_appended_pkey" PRIMARY KEY ("writer")
) WITH (fillfactor = 20, toast_tuple_target = 8160);

DROP FUNCTION happy_append_messages(text[], text[], text[], text[], text[], timestamp(3), boolean);
DROP FUNCTION happy_append_new_messages(text[], text[], text[], text[], text[], timestamp(3));

-- In all of these functions variables begin with p_, v_ or o_, as no column does, and a name that could be
-- both is an error (plpgsql.variable_conflict): a column can never be meant by accident.

-- The messages of a batch one after another, as happy_append_messages does where some are there already.
CREATE FUNCTION happy_append_one_by_one(
    p_writer text, p_batch bigint,
    p_account text[], p_session text[], p_local text[], p_id text[], p_content text[], p_now timestamp(3)
)
RETURNS TABLE (
    o_row integer, o_new boolean, o_id text, o_seq integer, o_account_seq integer,
    o_created timestamp(3), o_updated timestamp(3)
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict error
DECLARE
    v_account text;
    v_account_seq integer;
    v_account_new integer := 0;
    v_session text;
    v_session_seq integer;
    v_session_new integer := 0;
    v_session_known boolean := false;
    v_numbers integer[] := '{}';
    v_rows integer[] := '{}';
BEGIN
    FOR k IN 1 .. cardinality(p_account) LOOP
        IF v_session IS DISTINCT FROM p_session[k] OR v_account IS DISTINCT FROM p_account[k] THEN
            IF v_session_new > 0 THEN
                UPDATE "Session" SET "seq" = v_session_seq, "updatedAt" = p_now WHERE "id" = v_session;
                v_session_new := 0;
            END IF;
            IF v_account IS DISTINCT FROM p_account[k] THEN
                IF v_account_new > 0 THEN
                    UPDATE "Account" SET "seq" = v_account_seq, "updatedAt" = p_now WHERE "id" = v_account;
                    v_account_new := 0;
                END IF;
                v_account := p_account[k];
                SELECT "seq" INTO v_account_seq FROM "Account" WHERE "id" = v_account;
            END IF;
            v_session := p_session[k];
            SELECT "seq" INTO v_session_seq FROM "Session" WHERE "id" = v_session AND "accountId" = v_account;
            v_session_known := FOUND;
        END IF;
        CONTINUE WHEN NOT v_session_known;
        o_row := k;
        INSERT INTO "SessionMessage" ("id", "sessionId", "localId", "seq", "content", "createdAt", "updatedAt")
            VALUES (p_id[k], v_session, p_local[k], v_session_seq + 1,
                    jsonb_build_object('t', 'encrypted', 'c', p_content[k]), p_now, p_now)
            ON CONFLICT ("sessionId", "localId") DO NOTHING;
        o_new := FOUND;
        IF o_new THEN
            v_session_seq := v_session_seq + 1;
            v_session_new := v_session_new + 1;
            v_account_seq := v_account_seq + 1;
            v_account_new := v_account_new + 1;
            v_numbers := v_numbers || v_account_seq;
            v_rows := v_rows || k;
            o_id := p_id[k];
            o_seq := v_session_seq;
            o_account_seq := v_account_seq;
            o_created := NULL;
            o_updated := NULL;
        ELSE
            SELECT "id", "seq", "createdAt", "updatedAt" INTO o_id, o_seq, o_created, o_updated
                FROM "SessionMessage" WHERE "sessionId" = v_session AND "localId" = p_local[k];
            o_account_seq := NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF v_session_new > 0 THEN
        UPDATE "Session" SET "seq" = v_session_seq, "updatedAt" = p_now WHERE "id" = v_session;
    END IF;
    IF v_account_new > 0 THEN
        UPDATE "Account" SET "seq" = v_account_seq, "updatedAt" = p_now WHERE "id" = v_account;
    END IF;
    INSERT INTO "happy_appended" ("writer", "batch", "numbers", "rows", "at")
        VALUES (p_writer, p_batch, v_numbers, v_rows, p_now)
        ON CONFLICT ("writer") DO UPDATE
       SET "batch" = EXCLUDED."batch", "numbers" = EXCLUDED."numbers", "rows" = EXCLUDED."rows",
           "at" = EXCLUDED."at"
     WHERE "happy_appended"."batch" < EXCLUDED."batch";
    IF NOT FOUND THEN
        RAISE 'the batch comes too late';
    END IF;
END
$$;

-- Stores a batch of messages of any accounts and sessions, and takes their session and account numbers
-- without gaps (docs/architecture.md). One call is a transaction by itself.
--
-- The caller sorts rows by (account, session), keeping the order of arrival inside a session; rows of
-- unknown or foreign sessions do not come back. The times of what is stored now are p_now, and left out.
-- A writer's batches have rising numbers. One that comes after a later one, or was given up, fails.
--
-- Accounts are locked first, all of them, in ascending order: every writer of either sequence does the same,
-- so batches never deadlock with each other. FOR NO KEY UPDATE leaves the foreign-key checks of other writers
-- alone. Then the usual batch, in which every message is new, is stored all at once. What the planner may not
-- use for that is what it would misjudge: it knows nothing of the arrays.
CREATE FUNCTION happy_append_messages(
    p_writer text, p_batch bigint,
    p_account text[], p_session text[], p_local text[], p_id text[], p_content text[], p_now timestamp(3)
)
RETURNS TABLE (
    o_row integer, o_new boolean, o_id text, o_seq integer, o_account_seq integer,
    o_created timestamp(3), o_updated timestamp(3)
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict error
DECLARE
    v_stored integer;
BEGIN
    PERFORM 1 FROM "Account" WHERE "id" = ANY (p_account) ORDER BY "id" FOR NO KEY UPDATE;
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
            RETURNING "id"
        ), "Sessions" AS (
            UPDATE "Session" SET "seq" = "Last"."seq", "updatedAt" = p_now
              FROM (SELECT "session", max("seq") AS "seq" FROM "Given" GROUP BY 1 ORDER BY 1) AS "Last"
             WHERE "Session"."id" = "Last"."session"
        ), "Accounts" AS (
            UPDATE "Account" SET "seq" = "Last"."number", "updatedAt" = p_now
              FROM (SELECT "account", max("number") AS "number" FROM "Given" GROUP BY 1 ORDER BY 1) AS "Last"
             WHERE "Account"."id" = "Last"."account"
        ), "Noted" AS (
            INSERT INTO "happy_appended" ("writer", "batch", "numbers", "rows", "at")
            SELECT p_writer, p_batch, ARRAY(SELECT "number" FROM "Given" ORDER BY "row"), NULL, p_now
                ON CONFLICT ("writer") DO UPDATE
               SET "batch" = EXCLUDED."batch", "numbers" = EXCLUDED."numbers", "rows" = NULL,
                   "at" = EXCLUDED."at"
             WHERE "happy_appended"."batch" < EXCLUDED."batch"
            RETURNING "writer"
        )
        -- What comes back cannot be taken back: nothing before everything is stored, and nothing at all when
        -- the note is refused. Where no message is stored, one row without a number stands for none.
        SELECT "row"::integer, true, p_id["row"], "seq", "number", NULL::timestamp(3), NULL::timestamp(3)
          FROM "Noted" LEFT JOIN "Given" ON true WHERE (SELECT count(*) FROM "Stored") >= 0;
        IF NOT FOUND THEN
            RAISE 'the batch comes too late';
        END IF;
        GET DIAGNOSTICS v_stored = ROW_COUNT;
        IF v_stored < cardinality(p_account) THEN
            UPDATE "happy_appended" SET "rows" = ARRAY(
                SELECT g."row"::integer
                  FROM unnest(p_account, p_session) WITH ORDINALITY AS g("account", "session", "row")
                  JOIN "Session" AS s ON s."id" = g."session" AND s."accountId" = g."account"
                 ORDER BY 1
            ) WHERE "writer" = p_writer;
        END IF;
        RETURN;
    EXCEPTION WHEN unique_violation THEN
        -- A message is there already.
    END;
    RETURN QUERY SELECT n.* FROM happy_append_one_by_one(
        p_writer, p_batch, p_account, p_session, p_local, p_id, p_content, p_now
    ) AS n;
END
$$;

-- Where the messages of a batch are of which it is known that it was stored: as happy_append_messages would
-- have answered, with the times of all.
CREATE FUNCTION happy_find_appended(
    p_account text[], p_session text[], p_local text[], p_id text[], p_numbers integer[], p_rows integer[]
)
RETURNS TABLE (
    o_row integer, o_new boolean, o_id text, o_seq integer, o_account_seq integer,
    o_created timestamp(3), o_updated timestamp(3)
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    WITH "Taken" AS MATERIALIZED (
        SELECT coalesce(p_rows[t."place"], t."place"::integer) AS "row", t."number"
          FROM unnest(p_numbers) WITH ORDINALITY AS t("number", "place")
    )
    SELECT t."row", true, m."id", m."seq", t."number", m."createdAt", m."updatedAt"
      FROM "Taken" AS t JOIN "SessionMessage" AS m ON m."id" = p_id[t."row"]
    UNION ALL
    SELECT g."row"::integer, false, m."id", m."seq", NULL, m."createdAt", m."updatedAt"
      FROM unnest(p_account, p_session, p_local) WITH ORDINALITY AS g("account", "session", "local", "row")
      JOIN "Session" AS s ON s."id" = g."session" AND s."accountId" = g."account"
      JOIN "SessionMessage" AS m ON m."sessionId" = s."id" AND m."localId" = g."local"
     WHERE g."row" NOT IN (SELECT t."row" FROM "Taken" AS t)
     ORDER BY 1
$$;
