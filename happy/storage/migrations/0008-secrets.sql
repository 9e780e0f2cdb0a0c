-- The master secrets that the data was used with, by the key that verifies their tokens. "since" is when one
-- came into use; one that is prepared to follow has none. "until" is how long the tokens of a former one count;
-- the one in use has none. A prepared one has the former's vault key, sealed for itself, and the time in
-- milliseconds that the former's tokens will then still count.
CREATE TABLE "happy_secrets" (
    "publicKey" BYTEA NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL,
    "since" TIMESTAMP(3),
    "until" TIMESTAMP(3),
    "grace" BIGINT,
    "former" BYTEA,
    CONSTRAINT "happy_secrets_pkey" PRIMARY KEY ("publicKey")
);

CREATE UNIQUE INDEX "happy_secrets_one_in_use_idx" ON "happy_secrets" ((true)) WHERE "since" IS NOT NULL AND "until" IS NULL;
