-- What was told, for as long as somebody at another node may have missed it (docs/architecture.md). Written
-- only where there are several nodes. The rows of an account have its numbers without a gap: each is written
-- in the transaction that takes the number, while the account's row is held. Nothing of it is worth more than
-- the clients that are connected, so it need not outlive PostgreSQL.
--
-- "session" and "machine" are the audience, "skip" is the id of the socket that must not hear it. A message is
-- told from its own row ("message"), everything else as it was sent ("text"); "size" is how long that is.
CREATE UNLOGGED TABLE "happy_updates" (
    "account" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "at" TIMESTAMP(3) NOT NULL,
    "size" INTEGER NOT NULL,
    "session" TEXT,
    "machine" TEXT,
    "skip" TEXT,
    "message" TEXT,
    "text" TEXT,
    CONSTRAINT "happy_updates_pkey" PRIMARY KEY ("account", "seq")
);

-- As happy_append_messages, and notes what has to be told of it. "p_skip" has a socket's id, or null, for each
-- message.
CREATE FUNCTION happy_append_noted(
    p_writer text, p_batch bigint,
    p_account text[], p_session text[], p_local text[], p_id text[], p_content text[], p_now timestamp(3),
    p_skip text[]
)
RETURNS TABLE (
    o_row integer, o_new boolean, o_id text, o_seq integer, o_account_seq integer,
    o_created timestamp(3), o_updated timestamp(3)
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict error
BEGIN
    RETURN QUERY
    WITH "Appended" AS MATERIALIZED (
        SELECT a.* FROM happy_append_messages(
            p_writer, p_batch, p_account, p_session, p_local, p_id, p_content, p_now
        ) AS a("row", "new", "id", "seq", "number", "created", "updated")
    ), "Noted" AS (
        INSERT INTO "happy_updates" ("account", "seq", "at", "size", "session", "skip", "message")
        SELECT p_account["row"], "number", p_now, octet_length(p_content["row"]), p_session["row"],
               p_skip["row"], "id"
          FROM "Appended" WHERE "new" AND "row" IS NOT NULL
    )
    SELECT * FROM "Appended";
END
$$;
