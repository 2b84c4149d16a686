// SPDX-License-Identifier: Apache-2.0
//! The tables of the catalogue and the way from older ones.

use rusqlite::{Connection, TransactionBehavior};

/// Step `n` leads from schema `n` to schema `n + 1`. A released step never changes.
const STEPS: &[&str] = &[
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
];

/// Marks a database as ours: "imgc" in ASCII.
const APPLICATION_ID: i64 = 0x696d_6763;

#[derive(Debug, PartialEq)]
pub(crate) enum State {
    /// No table and no mark: a database that has just been made.
    Empty,
    /// Ours, of this or an older schema.
    Known,
    /// Ours, of a schema that only newer versions know.
    Newer(i64),
    /// Somebody else's.
    Foreign,
}

pub(crate) fn state(db: &Connection) -> rusqlite::Result<State> {
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (number("application_id")?, number("user_version")?) {
        (0, 0) if tables == 0 => State::Empty,
        (APPLICATION_ID, version) if version > STEPS.len() as i64 => State::Newer(version),
        (APPLICATION_ID, version) if version > 0 => State::Known,
        _ => State::Foreign,
    })
}

/// The number of the database's schema; 0 before there is one.
pub(crate) fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Whether there are newer schemas than the one of this number.
pub(crate) fn is_old(version: i64) -> bool {
    version < STEPS.len() as i64
}

/// Brings the database to the newest schema, or leaves it as it is.
pub(crate) fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    run(db, STEPS)
}

fn run(db: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(version(&tx)?).unwrap_or(0);
    if done >= steps.len() {
        return Ok(());
    }
    for step in &steps[done..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", steps.len() as i64)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.commit()
}

/// Whether the tables, indices and triggers are exactly those that the steps make.
pub(crate) fn is_exact(db: &Connection) -> rusqlite::Result<bool> {
    let mut model = Connection::open_in_memory()?;
    migrate(&mut model)?;
    Ok(objects(db)? == objects(&model)?)
}

fn objects(db: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    db.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_once_each_and_in_order() {
        let steps = [
            "CREATE TABLE t (a); INSERT INTO t VALUES ('one')",
            "ALTER TABLE t ADD COLUMN b",
            "UPDATE t SET b = a",
        ];
        let mut db = Connection::open_in_memory().unwrap();
        for known in 1..=3 {
            run(&mut db, &steps[..known]).unwrap();
            assert_eq!(version(&db).unwrap(), known as i64);
        }
        run(&mut db, &steps).unwrap();
        let b: String = db.query_row("SELECT b FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(b, "one");
    }

    #[test]
    fn a_failing_step_leaves_the_old_schema() {
        let mut db = Connection::open_in_memory().unwrap();
        run(&mut db, &["CREATE TABLE t (a)"]).unwrap();
        run(
            &mut db,
            &["CREATE TABLE t (a)", "CREATE TABLE u (a)", "CREATE TABLE t (a)"],
        )
        .unwrap_err();
        assert_eq!(version(&db).unwrap(), 1);
        db.query_row("SELECT count(*) FROM u", [], |_| Ok(()))
            .unwrap_err();
    }

    #[test]
    fn a_step_back_is_no_step() {
        let mut db = Connection::open_in_memory().unwrap();
        run(&mut db, &["CREATE TABLE t (a)", "CREATE TABLE u (a)"]).unwrap();
        run(&mut db, &["CREATE TABLE t (a)"]).unwrap();
        assert_eq!(version(&db).unwrap(), 2);
    }

    #[test]
    fn databases_are_told_apart() {
        let table = [
            ("", State::Empty),
            ("CREATE TABLE t (a)", State::Foreign),
            ("PRAGMA user_version = 1", State::Foreign),
            ("PRAGMA application_id = 7", State::Foreign),
            ("PRAGMA application_id = 1768777571", State::Foreign),
            (
                "PRAGMA application_id = 1768777571; PRAGMA user_version = 1",
                State::Known,
            ),
            (
                "PRAGMA application_id = 1768777571; PRAGMA user_version = 99",
                State::Newer(99),
            ),
            (
                "PRAGMA application_id = 1768777571; PRAGMA user_version = -1",
                State::Foreign,
            ),
        ];
        for (sql, want) in table {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(sql).unwrap();
            assert_eq!(state(&db).unwrap(), want, "{sql}");
        }
    }
}
