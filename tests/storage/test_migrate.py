"""Databases in every state a server may meet at start (schema.md 9)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from happy.base.errors import StartupError
from happy.storage.database import Database
from happy.storage.migrate import (
    ADVISORY_LOCK,
    MOST_NAMES,
    UNUSED,
    Found,
    Migration,
    columns_made,
    load_migrations,
    migrate,
    original_names,
    plan,
    unique_made,
)
from tests.harness import RecordingPublisher, pg_dump, psql, run_migrations, scratch_database

MIGRATIONS = load_migrations()
INITIAL = MIGRATIONS[0].sql
NAMES = original_names(INITIAL)
COLUMNS = {table: dict.fromkeys(columns, True) for table, columns in columns_made(INITIAL).items()}
UNIQUE = unique_made(INITIAL)
OWN = {migration.version: migration.name for migration in MIGRATIONS[1:]}


def original(**differences: Any) -> Found:
    """A database as the original leaves it, but for the differences."""
    usual = {"columns": COLUMNS, "unique": UNIQUE, "applied": set(NAMES), "recorded": True}
    return Found(**{**usual, **differences})


def ours(last: int = len(MIGRATIONS), **differences: Any) -> Found:
    """A database as this server leaves it after a migration, but for the differences."""
    sql = "".join(migration.sql for migration in MIGRATIONS[:last])
    columns = {table: dict.fromkeys(names, True) for table, names in columns_made(sql).items()}
    own = {version: name for version, name in OWN.items() if version <= last}
    return original(**{"columns": columns, "unique": unique_made(sql), "own": own, **differences})


def numbers(migrations: list[Migration]) -> list[int]:
    """The versions of migrations."""
    return [migration.version for migration in migrations]


class TestFiles:
    """The files themselves."""

    def test_are_numbered_without_a_gap(self) -> None:
        """Each file has the next number."""
        assert numbers(MIGRATIONS) == list(range(1, len(MIGRATIONS) + 1))

    def test_name_what_the_original_has(self) -> None:
        """The first file records the original's 37 migrations and makes its 21 tables."""
        assert len(NAMES) == 37
        assert sorted(NAMES) == NAMES
        assert len(COLUMNS) == 21 + 1

    def test_names_in_functions_mean_one_thing(self) -> None:
        """A variable of a function can never be taken for a column, nor a column for a variable."""
        made = "".join(migration.sql for migration in MIGRATIONS[6:])
        bodies = re.findall(r"LANGUAGE plpgsql.*?AS \$\$\n(.*?)\$\$;", made, re.DOTALL)
        assert len(bodies) == made.count("LANGUAGE plpgsql") > 0
        for body in bodies:
            declared = re.match(r"#variable_conflict error\n(?:DECLARE\n(.*?))?BEGIN", body, re.DOTALL)
            assert declared is not None
            assert all(line.strip().startswith("v_") for line in (declared[1] or "").splitlines())

    def test_only_add_things_of_our_own(self) -> None:
        """After the first file everything that is made, or removed again, is called happy_something."""
        for migration in MIGRATIONS[1:]:
            made = re.findall(r'CREATE (?:UNIQUE |UNLOGGED )?(?:TABLE|INDEX|FUNCTION) "?(\w+)', migration.sql)
            assert len(made) == migration.sql.count("CREATE ")
            assert all(name.startswith("happy_") for name in made)
            assert not re.search(r'ALTER|DROP (?!INDEX "happy_|FUNCTION happy_)', migration.sql)


class TestPlan:
    """Which migrations a database gets."""

    def test_an_empty_database_gets_everything(self) -> None:
        """An empty database is made from the first file on."""
        assert numbers(plan(Found(columns={}), MIGRATIONS)) == numbers(MIGRATIONS)

    def test_the_original_s_database_gets_our_additions(self) -> None:
        """A database of the original keeps what it has."""
        assert numbers(plan(original(), MIGRATIONS)) == numbers(MIGRATIONS)[1:]

    def test_only_what_is_missing(self) -> None:
        """A database that has seen some of our additions gets the others."""
        assert numbers(plan(ours(2), MIGRATIONS)) == numbers(MIGRATIONS)[2:]
        assert plan(ours(), MIGRATIONS) == []

    def test_what_is_recorded_is_there(self) -> None:
        """Of ours too, a table that is gone, or was changed by hand, is told before anything needs it."""
        columns = dict(ours().columns)
        columns["happy_access"] = {"id": True}
        with pytest.raises(StartupError, match='"happy_access" of the database lacks version, registration'):
            plan(ours(columns=columns), MIGRATIONS)
        del columns["happy_access"]
        with pytest.raises(StartupError, match='lacks the table "happy_access"; perhaps it was not'):
            plan(ours(columns=columns), MIGRATIONS)
        with pytest.raises(StartupError, match='"happy_migrations" of the database lacks the unique index'):
            plan(ours(unique=UNIQUE), MIGRATIONS)

    def test_what_is_there_is_recorded(self) -> None:
        """Tables of ours without the record of the migration that made them are not made once more."""
        with pytest.raises(StartupError, match='has the table "happy_migrations", but no record .* 0002'):
            plan(ours(own={}), MIGRATIONS)

    def test_a_newer_version_of_ours_is_refused(self) -> None:
        """A migration we do not have means newer code: the refusal names it."""
        with pytest.raises(StartupError, match=r"newer version.*0099-future"):
            plan(original(own={**OWN, 99: "0099-future"}), MIGRATIONS)

    def test_a_prefix_is_refused(self) -> None:
        """An older database of the original is refused, and the message names what it lacks."""
        with pytest.raises(StartupError, match=f"older.*{NAMES[-2]}, {NAMES[-1]}"):
            plan(original(applied=set(NAMES[:-2])), MIGRATIONS)

    def test_a_long_prefix_is_one_line(self) -> None:
        """Of many missing migrations the first ones are named."""
        with pytest.raises(
            StartupError, match=f"lack {NAMES[0]}, .* and {len(NAMES) - MOST_NAMES} more$"
        ) as refused:
            plan(original(applied=()), MIGRATIONS)
        assert len(str(refused.value)) < 400

    def test_a_failed_migration_is_refused(self) -> None:
        """A migration that failed halfway has to be repaired by whoever began it."""
        with pytest.raises(StartupError, match=r"future.* failed"):
            plan(original(failed={"20270101000000_future"}), MIGRATIONS)

    def test_a_newer_original_with_optional_columns_is_accepted(self) -> None:
        """Migrations of the original that we do not know are fine as long as we can still insert."""
        columns = {**COLUMNS, "Session": {**COLUMNS["Session"], "mood": True}, "Mood": {"id": False}}
        found = original(applied={*NAMES, "20270101000000_mood"}, columns=columns)
        assert numbers(plan(found, MIGRATIONS)) == numbers(MIGRATIONS)[1:]

    def test_a_newer_original_with_a_required_column_is_refused(self) -> None:
        """A column that every insert must fill cannot be left out by us."""
        columns = {**COLUMNS, "Session": {**COLUMNS["Session"], "mood": False}}
        with pytest.raises(StartupError, match=r'"Session".* requires mood'):
            plan(original(applied={*NAMES, "20270101000000_mood"}, columns=columns), MIGRATIONS)

    def test_a_newer_original_without_a_column_is_refused(self) -> None:
        """A column that we use must be there."""
        columns = {**COLUMNS, "Session": {"id": True}}
        with pytest.raises(StartupError, match=r'"Session" .* lacks accountId'):
            plan(original(applied={*NAMES, "20270101000000_mood"}, columns=columns), MIGRATIONS)

    def test_a_newer_original_may_drop_what_it_does_not_use(self) -> None:
        """Tables that are there for nothing may go, as one is going to (schema.md 4.21)."""
        columns = {table: names for table, names in COLUMNS.items() if table not in UNUSED}
        found = original(
            applied={*NAMES, "20270101000000_tidy"},
            columns=columns,
            unique=[one for one in UNIQUE if one[0] not in UNUSED],
        )
        assert len(COLUMNS) - len(columns) >= 5
        assert numbers(plan(found, MIGRATIONS)) == numbers(MIGRATIONS)[1:]

    @pytest.mark.parametrize("one", ["Session accountId, tag", "UserRelationship fromUserId, toUserId"])
    def test_a_lost_index_is_refused(self, one: str) -> None:
        """What may be there once only has to be kept from being there twice."""
        table, columns = one.split(" ", 1)
        rest = [unique for unique in UNIQUE if unique != (table, frozenset(columns.split(", ")))]
        with pytest.raises(
            StartupError, match=f'"{table}" of the database lacks the unique index on {columns}'
        ):
            plan(original(unique=rest), MIGRATIONS)

    def test_no_record_but_every_column(self) -> None:
        """A database made without the migration tool is taken when its columns fit."""
        assert numbers(plan(original(applied=(), recorded=False), MIGRATIONS)) == numbers(MIGRATIONS)[1:]

    def test_a_record_without_the_tables_is_refused(self) -> None:
        """A history without tables is damage or an unfinished start, not an empty database."""
        for applied in (set(NAMES), set[str]()):
            with pytest.raises(StartupError, match="not the tables"):
                plan(Found(columns={}, applied=applied, recorded=True), MIGRATIONS)


class TestMigrating:
    """The same on real databases."""

    def test_again_changes_nothing(self) -> None:
        """A second start finds nothing to do."""
        with scratch_database() as dsn:
            before = pg_dump(dsn)
            run_migrations(dsn)
            assert _comparable(pg_dump(dsn)) == _comparable(before)

    def test_embedded_record_of_the_original(self) -> None:
        """The original's embedded form of its record, without two of the columns, is understood."""
        with scratch_database() as dsn:
            psql(dsn, 'ALTER TABLE "_prisma_migrations" DROP COLUMN "checksum", DROP COLUMN "rolled_back_at"')
            run_migrations(dsn)
            psql(dsn, f'DELETE FROM "_prisma_migrations" WHERE "migration_name" = \'{NAMES[-1]}\'')
            with pytest.raises(StartupError, match=NAMES[-1]):
                run_migrations(dsn)

    def test_rolled_back_attempts_do_not_count(self) -> None:
        """A failed attempt that was rolled back and repeated is history; an open one is a refusal."""
        failed = (
            'INSERT INTO "_prisma_migrations" ("id", "checksum", "migration_name", "rolled_back_at")'
            f" VALUES (gen_random_uuid(), '', '{NAMES[3]}', now())"
        )
        with scratch_database() as dsn:
            psql(dsn, failed)
            run_migrations(dsn)
            psql(
                dsn,
                'UPDATE "_prisma_migrations" SET "rolled_back_at" = NULL, "finished_at" = NULL'
                f" WHERE \"migration_name\" = '{NAMES[3]}'",
            )
            with pytest.raises(StartupError, match=f"{NAMES[3]} failed"):
                run_migrations(dsn)

    def test_tables_of_another_role(self) -> None:
        """Tables that the role may not add to are told with their owner, also where it cannot see them."""
        with scratch_database() as dsn:
            ((owner,),) = psql(dsn, "SELECT current_user::text")
            other = dsn.replace(f"//{owner}@", "//some%20one@")
            told = f'tables .* belong to the role {owner}; .* ALTER TABLE ... OWNER TO "some one"'
            psql(dsn, 'CREATE ROLE "some one" LOGIN')
            try:
                with pytest.raises(StartupError, match=told):
                    run_migrations(other)
                psql(dsn, 'GRANT pg_read_all_data, pg_write_all_data TO "some one"')
                run_migrations(other)
                forget_newest(dsn)
                with pytest.raises(StartupError, match=told):
                    run_migrations(other)
            finally:
                psql(dsn, 'DROP ROLE "some one"')

    def test_a_failing_file_changes_nothing(self) -> None:
        """A file that cannot be applied leaves the database as it was, and says which it was."""
        with scratch_database(migrated=False) as dsn:
            psql(dsn, 'CREATE TABLE "Session" ("mine" TEXT)')
            before = pg_dump(dsn)
            with pytest.raises(StartupError, match="0001-initial failed"):
                run_migrations(dsn)
            assert _comparable(pg_dump(dsn)) == _comparable(before)


def _comparable(dump: str) -> str:
    """A dump without the random key that pg_dump writes into each."""
    return "\n".join(line for line in dump.splitlines() if "restrict " not in line)


class MigrateTests(TestCase):
    """Through a Database, as a server starts."""

    def open(self, dsn: str) -> Database:
        from twisted.internet import reactor

        return Database(dsn, clock=reactor, publisher=RecordingPublisher(), patience=0.01)

    async def test_another_schema(self) -> None:
        """The schema that the URL names is made if need be, and holds everything."""
        with scratch_database(migrated=False) as dsn:
            await migrate(self.open(f"{dsn}&schema=Happy+Home"))
            schemas = psql(dsn, "SELECT DISTINCT schemaname::text FROM pg_tables WHERE tablename LIKE 'S%'")
            self.assertEqual(schemas, [("Happy Home",)])
            await migrate(self.open(f"{dsn}&schema=Happy+Home"))

    async def test_two_at_once(self) -> None:
        """Two servers that start together on an empty database both succeed."""
        with scratch_database(migrated=False) as dsn:
            both = [Deferred.fromCoroutine(migrate(self.open(dsn))) for _ in range(2)]
            await gatherResults(both, consumeErrors=True)
            self.assertEqual(psql(dsn, 'SELECT count(*) FROM "happy_migrations"'), [(len(OWN),)])

    async def test_the_lock_is_the_original_s(self) -> None:
        """While migrating the advisory lock is held that the original's tool takes, and not afterwards."""
        with scratch_database(migrated=False) as dsn:
            await migrate(self.open(dsn))
            self.assertEqual(psql(dsn, f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})"), [(True,)])

    async def test_no_server(self) -> None:
        """A server that cannot be reached is a readable refusal."""
        nowhere = self.open("postgresql://happy@/x?host=/nonexistent")
        refused = Deferred.fromCoroutine(migrate(nowhere, patience=0.01))
        failure = await self.assertFailure(refused, StartupError)
        self.assertIn("DATABASE_URL", str(failure))


def forget_newest(dsn: str) -> int:
    """Undo the newest migration as far as it made tables; its number."""
    newest = MIGRATIONS[-1]
    psql(dsn, 'DELETE FROM "happy_migrations" WHERE "version" = %s', (newest.version,))
    for table in re.findall(r"CREATE (?:UNLOGGED )?TABLE (\S+)", newest.sql):
        psql(dsn, f"DROP TABLE {table}")
    return newest.version


class BeforeTests(TestCase):
    """What is done first where there are data."""

    async def test_only_with_data(self) -> None:
        """Databases without accounts are changed at once; of others the versions are told first."""
        from twisted.internet import reactor

        told: list[tuple[int, list[int]]] = []

        async def before(newest: int, missing: Any) -> None:
            told.append((newest, numbers(missing)))

        with scratch_database(migrated=False) as dsn:
            database = Database(dsn, clock=reactor, publisher=RecordingPublisher())
            await migrate(database, before=before)
            last = forget_newest(dsn)
            await migrate(database, before=before)
            self.assertEqual(told, [])
            psql(dsn, """INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ('a', 'k', now())""")
            forget_newest(dsn)
            await migrate(database, before=before)
            await migrate(database, before=before)
            self.assertEqual(told, [(last - 1, [last])])
            await database.stop()
