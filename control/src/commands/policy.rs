//! `wiretable policy`: triggers and the procedures that they call, as the database knows them.

use postgres::Client;
use serde_json::{Value as Json, json};

use crate::cli::db::DatabaseArgs;
use crate::cli::policy::{PolicyArgs, PolicyCommand};
use crate::commands::sql::{apply, connect, literal, print, refused};
use crate::failure::Failure;
use crate::session::read_text;

const LIST: &str = "SELECT p.schema || '.' || p.relation AS \"table\", p.name, array_to_string(p.events, ', ') AS events, p.condition, p.procedure, \
    (SELECT max(v.version) FROM prov.version v WHERE v.object = k.identity) AS version, k.activated_by IS NOT NULL AS active, p.tenant, k.created_by AS author \
    FROM wt.policy p JOIN wt.procedure k ON k.schema || '.' || k.name = p.procedure ORDER BY 1, 2";

/// Shows or changes policies.
pub fn policy(args: &PolicyArgs) -> Result<(), Failure> {
    match &args.command {
        PolicyCommand::List { shown } => print(&mut connect(&shown.place)?, LIST, shown.format),
        PolicyCommand::Versions { procedure, shown } => {
            let mut client = connect(&shown.place)?;
            known(&mut client, procedure)?;
            let statement = format!(
                "SELECT v.version, to_char(v.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS made_utc, v.login, encode(v.digest, 'hex') AS sha256 \
                 FROM prov.version v JOIN wt.procedure k ON k.identity = v.object WHERE k.schema || '.' || k.name = {} ORDER BY 1",
                literal(procedure)
            );
            print(&mut client, &statement, shown.format)
        }
        PolicyCommand::Show { procedure, version, place } => show(procedure, *version, place),
        PolicyCommand::Apply { file, dry_run, place } => {
            let text = read_text(file)?;
            let calls: Json = serde_json::from_str(&text)
                .map_err(|error| Failure::Input(format!("{}: no JSON: {error}", file.display())))?;
            let what = file.display().to_string();
            let answer = apply(&mut connect(place)?, &what, &calls, *dry_run)?;
            if *dry_run {
                println!("{}", serde_json::to_string_pretty(&answer).unwrap_or_default());
            } else {
                let made = answer["results"].as_array().map_or(0, Vec::len);
                eprintln!("wiretable: {what}: {made} calls are done");
            }
            Ok(())
        }
        PolicyCommand::Activate { procedure, place } => {
            let mut client = connect(place)?;
            let (schema, name) = known(&mut client, procedure)?;
            client
                .execute("SELECT wt.activate_procedure($1, $2)", &[&schema, &name])
                .map_err(|e| refused(procedure, &e))?;
            eprintln!("wiretable: {procedure} is on");
            Ok(())
        }
        PolicyCommand::Deactivate { procedure, place } => {
            let mut client = connect(place)?;
            let (schema, name) = known(&mut client, procedure)?;
            let row = client
                .query_one("SELECT wt.deactivate_procedure($1, $2)", &[&schema, &name])
                .map_err(|e| refused(procedure, &e))?;
            let how = if row.get(0) { "is off" } else { "was off" };
            eprintln!("wiretable: {procedure} {how}");
            Ok(())
        }
        PolicyCommand::Drop { table, name, place } => {
            let (schema, relation) = parts("table", table)?;
            let call = json!([{ "call": "dropTrigger", "schema": schema, "table": relation, "name": name }]);
            apply(&mut connect(place)?, table, &call, false)?;
            eprintln!("wiretable: {name} on {table} is gone");
            Ok(())
        }
    }
}

/// The text of a version, on standard output.
fn show(procedure: &str, version: Option<i32>, place: &DatabaseArgs) -> Result<(), Failure> {
    let mut client = connect(place)?;
    known(&mut client, procedure)?;
    let row = client
        .query_opt(
            "SELECT v.definition FROM prov.version v JOIN wt.procedure k ON k.identity = v.object \
             WHERE k.schema || '.' || k.name = $1 AND ($2::integer IS NULL OR v.version = $2) ORDER BY v.version DESC LIMIT 1",
            &[&procedure, &version],
        )
        .map_err(|e| refused("the procedure", &e))?;
    let Some(row) = row else {
        return Err(Failure::Input(format!(
            "{procedure} has no version {}\n  help: `wiretable policy versions {procedure}` lists them",
            version.unwrap_or_default()
        )));
    };
    println!("{}", row.get::<_, String>(0).trim_end());
    Ok(())
}

/// Schema and name of a procedure that there is.
fn known(client: &mut Client, procedure: &str) -> Result<(String, String), Failure> {
    let (schema, name) = parts("procedure", procedure)?;
    let found = client
        .query_opt(
            "SELECT FROM wt.procedure WHERE schema = $1::text AND name = $2::text",
            &[&schema, &name],
        )
        .map_err(|e| refused("the procedure", &e))?;
    if found.is_none() {
        return Err(Failure::Input(format!(
            "there is no procedure `{procedure}`\n  help: `wiretable sql 'SELECT schema, name FROM wt.procedure'` shows those there are"
        )));
    }
    Ok((schema, name))
}

fn parts(what: &str, text: &str) -> Result<(String, String), Failure> {
    let split = text
        .split_once('.')
        .filter(|(schema, name)| !schema.is_empty() && !name.is_empty() && !name.contains('.'));
    let (schema, name) = split
        .ok_or_else(|| Failure::Input(format!("{what} `{text}` is not written as schema.name")))?;
    Ok((schema.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_parts() {
        assert_eq!(parts("table", "net.block").unwrap(), ("net".into(), "block".into()));
        for text in ["", "block", ".block", "net.", "a.b.c"] {
            let error = parts("table", text).unwrap_err().to_string();
            assert!(error.contains("schema.name"), "{error}");
        }
    }
}
