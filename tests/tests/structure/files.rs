//! Names and sizes of files, READMEs, and entries in registries.

use std::path::Path;

use super::tree::{FILES, ROOT, none};

/// Names that do not say what a module holds. `types` is allowed for the types of the schema only.
const BANNED: [&str; 9] =
    ["utils", "util", "helpers", "common", "misc", "models", "base", "manager", "core"];

/// A longer file holds more than one idea.
const LINES: usize = 450;

fn module_of(path: &str) -> Vec<&str> {
    let parts = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    parts.collect()
}

#[test]
fn modules_are_named_for_what_they_hold() {
    let mut wrong = Vec::new();
    for file in FILES.iter().filter(|file| file.is_rust()) {
        let types = file.path.contains("/types") && !file.path.starts_with("crates/api/src/types/");
        if types || module_of(&file.path).iter().any(|name| BANNED.contains(name)) {
            wrong.push(file.path.clone());
        }
    }
    none("a module's name does not say what it holds", wrong);
}

#[test]
fn a_file_holds_one_idea() {
    let mut wrong = Vec::new();
    for file in FILES.iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        if lines > LINES {
            wrong.push(format!("{}: {lines} lines, at most {LINES}", file.path));
        }
    }
    none("a file is too long: split it", wrong);
}

#[test]
fn every_crate_has_a_readme_which_is_its_documentation() {
    let mut wrong = Vec::new();
    let roots = FILES.iter().filter(|file| {
        file.path == "tests/src/lib.rs"
            || file.path.starts_with("crates/")
                && file.path.split('/').count() == 4
                && file.path.ends_with("/src/lib.rs")
    });
    let mut count = 0;
    for file in roots {
        count += 1;
        if !file.text.starts_with("#![doc = include_str!(\"../README.md\")]") {
            wrong.push(format!("{}: the README is not its documentation", file.path));
        }
        let readme = file.path.replace("src/lib.rs", "README.md");
        let name = readme.rsplit('/').nth(1).unwrap();
        let text = std::fs::read_to_string(ROOT.join(&readme)).unwrap_or_default();
        if !text.starts_with(&format!("# {name}\n")) || text.lines().count() < 5 {
            wrong.push(format!(
                "{readme}: does not begin with the crate's name, or has fewer than 5 lines"
            ));
        }
    }
    assert!(count >= 9, "these are not all crates: {count}");
    none("a crate without a README as its documentation", wrong);
}

#[test]
fn every_derived_table_is_registered_under_its_own_name() {
    let folder = "crates/store/src/projections/";
    let text = |path: &str| &FILES.iter().find(|file| file.path == path).unwrap().text;
    let register = text(&format!("{folder}mod.rs"));
    let migrations: String = FILES
        .iter()
        .filter(|file| file.path.starts_with("migrations/"))
        .map(|file| file.text.as_str())
        .collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for file in FILES.iter() {
        let Some(name) = file.path.strip_prefix(folder).and_then(|name| name.strip_suffix(".rs"))
        else {
            continue;
        };
        if ["mod", "tests"].contains(&name) || name.contains('/') {
            continue;
        }
        count += 1;
        let registered = ["pure", "fold"].map(|kind| format!("        {kind}::<{name}::"));
        if !register.contains(&format!("\nmod {name};"))
            || !registered.iter().any(|line| register.contains(line))
        {
            wrong.push(format!("{name} is not in projections/mod.rs"));
        }
        if !file.text.contains(&format!("const NAME: &'static str = \"{name}\";")) {
            wrong.push(format!("{name}: NAME differs from the file's name"));
        }
        let tables = file.text.split_once("const TABLES").map_or("", |(_, rest)| rest);
        let tables = tables.split_once(';').map_or("", |(list, _)| list);
        for table in tables.split('"').skip(1).step_by(2) {
            if !migrations.contains(&format!("create table derived.{table} ")) {
                wrong.push(format!("{name}: no migration creates {table}"));
            }
        }
    }
    assert!(count >= 8, "these are not all projections: {count}");
    none("a derived table is one file, one line, one name", wrong);
}

/// A projection that readers see needs a migration, `projections/<table>.rs`, `read/<table>.rs`, and a line in each of two
/// registries. `undecodables` shows it, because nothing else depends on that projection.
#[test]
fn a_projection_is_named_where_it_is_made_and_nowhere_else() {
    let named: Vec<&str> = FILES
        .iter()
        .filter(|file| file.product() == Some("store") || file.path.starts_with("migrations/"))
        .filter(|file| {
            let code = if file.is_rust() { file.code() } else { file.text.clone() };
            // `measure` counts all tables, this one included.
            !file.path.contains("/measure/") && code.contains("undecodables")
        })
        .map(|file| file.path.as_str())
        .collect();
    let expected = [
        "crates/store/src/projections/mod.rs",
        "crates/store/src/projections/undecodables.rs",
        "crates/store/src/read/envelopes.rs",
        "migrations/0002_derived.sql",
    ];
    assert_eq!(named, expected);
}

/// An index costs every write, so the line before it names the query that needs it, and its file.
#[test]
fn every_index_names_the_query_that_needs_it() {
    let file = FILES.iter().find(|file| file.path == "migrations/0002_derived.sql").unwrap();
    let lines: Vec<&str> = file.text.lines().collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for pair in lines.windows(2).filter(|pair| pair[1].starts_with("create index ")) {
        count += 1;
        let asked = pair[0].strip_prefix("-- ").and_then(|said| said.split_once(": "));
        let asks = asked.is_some_and(|(path, question)| {
            let path = format!("crates/store/src/{path}");
            !question.is_empty() && FILES.iter().any(|file| file.path == path)
        });
        if !asks {
            wrong.push(pair.join("\n  "));
        }
    }
    assert!(count > 25, "these are not all indexes: {count}");
    none("an index without the query that needs it", wrong);
}

#[test]
fn every_scenario_is_run() {
    let mut wrong = Vec::new();
    for group in ["scenarios", "structure"] {
        let register =
            std::fs::read_to_string(ROOT.join(format!("tests/tests/{group}.rs"))).unwrap();
        let folder = format!("tests/tests/{group}/");
        for file in FILES.iter().filter(|file| file.path.starts_with(&folder)) {
            let name = Path::new(&file.path).file_stem().unwrap().to_str().unwrap();
            if !register.contains(&format!("mod {name};")) {
                wrong.push(file.path.clone());
            }
        }
    }
    none("a file of tests that is not registered, so it does not run", wrong);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let mut numbers: Vec<u32> = FILES
        .iter()
        .filter(|file| file.path.ends_with(".sql"))
        .filter_map(|file| file.path.strip_prefix("migrations/")?.split_once('_'))
        .map(|(number, _)| number.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let expected: Vec<u32> = (1..=u32::try_from(numbers.len()).unwrap()).collect();
    assert_eq!(numbers, expected);
}
