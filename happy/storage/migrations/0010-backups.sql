-- When the data was last saved and the copy proven: one row at most.
CREATE TABLE "happy_backups" (
    "finishedAt" TIMESTAMP(3) NOT NULL,
    "bytes" BIGINT NOT NULL
);

CREATE UNIQUE INDEX "happy_backups_last_idx" ON "happy_backups" ((true));
