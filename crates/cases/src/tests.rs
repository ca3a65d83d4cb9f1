use std::{collections::BTreeMap, fs, path::Path};

use sensorium_contract::{Seed, Value};
use sensorium_samples::{Dataset, SourceConfig};

use crate::*;

fn look(csv: &str, label: &str, roles: &Roles) -> Result<Cases, CasesError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cases.csv"), csv).unwrap();
    let data = Dataset::open(&[SourceConfig::new("cases.csv")], folder.path())?;
    Cases::look(&data, label, roles)
}

/// Sixty rows with every kind of column.
fn table() -> String {
    let mut csv = String::from(
        "\u{feff}scan, note ,voice,age,ward,sex,admitted,case_no,copy,always,empty,smiles,chain,outcome,patient\n",
    );
    for row in 0..60 {
        let scan = if row % 3 == 0 { String::new() } else { format!("scans/{row}.png") };
        let note = format!("\"a note of case {row},\nwhich goes on\"");
        let age = if row % 7 == 0 { "?".into() } else { format!("{}.5", 20 + row * 13 % 50) };
        let ward = ["north", "south", "NA"][row % 3];
        let sex = row % 2;
        let outcome = ["well", "ill"][row * row % 5 % 2];
        let copy = if outcome == "ill" { "b" } else { "a" };
        let smiles = format!("CC(=O)N{}{}c1ccccc1", "C".repeat(row % 9), "O".repeat(row / 9));
        let chain = "MKTAYIAKQRQISFVKSHFSRQ".split_at(row % 2).1.to_owned() + ["A", "G", "V"][row % 3];
        csv += &format!(
            "{scan}, {note} ,v/{row}.wav,{age},{ward},{sex},2020-03-{:02},{},{copy},x,,{smiles},{chain}{},{outcome},p{}\n",
            row % 28 + 1,
            row * 7 + 3,
            "W".repeat(row % 11),
            row / 4,
        );
    }
    csv
}

#[test]
fn columns_are_understood() {
    let cases = look(&table(), "outcome", &Roles { group: Some("patient".into()), ..Roles::default() }).unwrap();
    let kinds: BTreeMap<&str, String> =
        cases.columns.iter().map(|column| (column.name.as_str(), column.kind.to_string())).collect();
    let expected = [
        ("scan", "image"),
        ("note", "text"),
        ("voice", "audio"),
        ("age", "number"),
        ("ward", "category"),
        ("sex", "category"),
        ("admitted", "date"),
        ("case_no", "identifier"),
        ("copy", "category"),
        ("always", "constant"),
        ("smiles", "molecule"),
        ("chain", "sequence"),
        ("outcome", "label"),
        ("patient", "group"),
    ];
    for (name, kind) in expected {
        assert_eq!(kinds[name], kind, "{name}: {}", cases.columns.iter().find(|c| c.name == name).unwrap().reason);
    }
    assert_eq!((cases.problem.kind, cases.problem.classes.join(" ")), (ProblemKind::Classes, "ill well".into()));
    assert!(cases.warnings.iter().any(|warning| warning.contains("`copy` may give the label away")));
    assert_eq!(cases.warnings.len(), 1, "{:?}", cases.warnings);
    assert!(cases.to_string().contains("paths of pictures"), "{cases}");
}

#[test]
fn rows_of_one_case_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let csv = "stay,scan,heard,note,dose,seen,ward,outcome\n\
               a,1.png,1.wav,coughs,2,2020-03-17,north,3\n\
               ,5.png,,alone,7,,south,1\n\
               b,2.png,,NA,4,,south,9\n\
               a ,3.png,2.wav,coughs,4,2020-04-01,south,3.5\n\
               b,,,sleeps,,2020-05-05,south,1\n\
               a,3.png,,better,6,,north,?\n";
    fs::write(folder.path().join("cases.csv"), csv).unwrap();
    let rows = Dataset::open(&[SourceConfig::new("cases.csv")], folder.path()).unwrap();
    let rule = LabelRule::of(&rows, "outcome > 2").unwrap();
    let Joined { data, warning } = join(rows.clone(), "stay", &rule).unwrap();
    let cell = |case: usize, name: &str| data.glance(case).unwrap().fields.remove(name);
    let text = |text: &str| Value::Text(text.into());
    let list = |of: [&str; 2]| Some(Value::List(of.map(text).to_vec()));

    let keys: Vec<String> = (0..data.len()).map(|case| data.key(case).unwrap()).collect();
    assert_eq!(keys, ["a", &rows.key(1).unwrap(), "b"]);
    assert_eq!((cell(0, "scan"), cell(0, "heard")), (list(["1.png", "3.png"]), list(["1.wav", "2.wav"])));
    assert_eq!((cell(0, "note"), cell(0, "ward")), (Some(text("coughs; better")), Some(text("north; south"))));
    assert_eq!((cell(0, "dose"), cell(0, "seen")), (Some(Value::Number(4.0)), Some(text("2020-03-17"))));
    assert_eq!((cell(2, "scan"), cell(2, "note")), (Some(text("2.png")), Some(text("sleeps"))));
    assert_eq!(data.glance(1).unwrap(), rows.glance(1).unwrap());

    // Rows of `a` say yes in two ways, those of `b` yes and no.
    let cases = Cases::look(&data, "outcome > 2", &Roles { case: Some("stay".into()), ..Roles::default() }).unwrap();
    let labels: Vec<Option<Value>> = cases.cases.into_iter().map(|case| case.label).collect();
    assert_eq!(labels, [Some(text("yes")), Some(text("no")), None]);
    assert!(warning.unwrap().contains("1 of 3 cases have rows with different `outcome > 2`"));
    assert_eq!(cases.columns.iter().find(|column| column.name == "stay").unwrap().kind, Kind::Identifier);
    let error = join(rows, "visit", &rule).err().unwrap().to_string();
    assert!(error.contains("--case: there is no column `visit`; the table has `dose`"), "{error}");
}

#[test]
fn of_variants_it_is_told_where_they_differ() {
    let chain = |row: usize, places: &[usize]| {
        let mut letters = "MTYKLILNGKTLKGETTTEAVDAATAEKVF".repeat(2).into_bytes();
        for (digit, &place) in places.iter().enumerate() {
            letters[place] = b"ACDE"[row / [1, 4, 16][digit % 3] % 4];
        }
        String::from_utf8(letters).unwrap()
    };
    let look = |chain: &dyn Fn(usize) -> String| {
        let rows: String = (0..40).map(|row| format!("{},{}.5\n", chain(row), row)).collect();
        let cases = look(&format!("chain,fitness\n{rows}"), "fitness", &Roles::default()).unwrap();
        let column = cases.columns.into_iter().find(|column| column.name == "chain").unwrap();
        assert_eq!(column.kind.to_string(), "sequence");
        (column.differing, column.reason)
    };
    let (places, reason) = look(&|row| chain(row, &[8, 9, 40]));
    assert_eq!((&places[..], &*reason), (&[8, 9, 40][..], "a sequence of 60 letters, 3 of which differ"));
    let most: Vec<usize> = (0..31).collect();
    assert!(look(&|row| chain(row, &most)).0.is_empty());
    let other_letters = |row: usize| chain(row, &[8, 9, 40]).replacen("MT", if row == 7 { "é" } else { "MT" }, 1);
    assert!(look(&other_letters).0.is_empty());
    let lengths = |row: usize| chain(row, &[8, 9, 40]) + if row == 7 { "A" } else { "" };
    assert!(look(&lengths).0.is_empty());
}

#[test]
fn the_user_has_the_last_word() {
    let mut roles = Roles::default();
    roles.read_kinds("text=ward,drop=copy,note").unwrap();
    let cases = look(&table(), "outcome", &roles).unwrap();
    let kind = |name: &str| cases.columns.iter().find(|column| column.name == name).unwrap().kind;
    assert_eq!((kind("ward"), kind("copy"), kind("note")), (Kind::Text(Writing::Prose), Kind::Dropped, Kind::Dropped));
    assert!(cases.warnings.is_empty(), "{:?}", cases.warnings);
    for (given, part) in [("picture=a", "no kind of column"), ("a", "KIND=COLUMN"), ("text=a,drop=a", "twice")] {
        let error = Roles::default().read_kinds(given).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    roles.read_kinds("drop=nowhere").unwrap();
    let error = look(&table(), "outcome", &roles).unwrap_err().to_string();
    assert!(error.contains("--columns: there is no column `nowhere`") && error.contains("`age`"), "{error}");
}

#[test]
fn a_label_s_kind_follows_from_its_values() {
    let csv = |label: &dyn Fn(usize) -> String| {
        (0..40).fold("x,y\n".to_owned(), |csv, row| format!("{csv}{},{}\n", row * 37 % 11, label(row)))
    };
    let problem = |label: &dyn Fn(usize) -> String, given| {
        look(&csv(label), "y", &Roles { problem: given, ..Roles::default() }).map(|cases| cases.problem)
    };
    let grade = |row: usize| (row % 5).to_string();
    assert_eq!(problem(&grade, None).unwrap().classes.join(" "), "0 1 2 3 4");
    assert_eq!(problem(&grade, Some(ProblemKind::Number)).unwrap().kind, ProblemKind::Number);
    assert_eq!(problem(&grade, Some(ProblemKind::Ordinal)).unwrap().kind, ProblemKind::Ordinal);
    assert_eq!(problem(&|row| format!("{}.25", row), None).unwrap().kind, ProblemKind::Number);
    let several = problem(&|row| ["cough;fever", "fever", "rash"][row % 3].into(), None).unwrap();
    assert_eq!((several.kind, several.classes.join(" ")), (ProblemKind::Labels, "cough fever rash".into()));
    assert!(problem(&|row| format!("name {row}"), None).unwrap_err().to_string().contains("must repeat"));
    assert!(problem(&|_| "same".into(), None).unwrap_err().to_string().contains("only `same`"));
    assert!(problem(&|_| "".into(), None).is_err());
}

#[test]
fn a_question_about_a_column_is_a_label() {
    let csv = (0..30).fold("a,target\n".to_owned(), |csv, row| format!("{csv}{},{}\n", row * 7 % 13, row % 4));
    let cases = look(&csv, "target > 0", &Roles::default()).unwrap();
    assert_eq!((cases.problem.classes.join(" "), cases.problem.counts), ("no yes".into(), vec![8, 22]));
    assert_eq!(cases.columns.iter().find(|column| column.name == "target").unwrap().kind, Kind::Label);
    assert!(look(&csv, "targt > 0", &Roles::default()).unwrap_err().to_string().contains("`target`"));
}

#[test]
fn no_group_is_on_both_sides_and_classes_are_shared_evenly() {
    let cases = look(&table(), "outcome", &Roles { group: Some("patient".into()), ..Roles::default() }).unwrap();
    let sides = sides(&cases.cases, &cases.problem, 0.25, Seed::new(1)).unwrap();
    let groups = |side: &[usize]| {
        side.iter().map(|&index| cases.cases[index].group.clone().unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(groups(&sides.train).is_disjoint(&groups(&sides.validation)));
    assert_eq!(sides.train.len() + sides.validation.len(), 60);
    assert!((12..=20).contains(&sides.validation.len()), "{}", sides.validation.len());
    let ungrouped = look(&table(), "outcome", &Roles::default()).unwrap();
    let all: Vec<&Case> = ungrouped.cases.iter().collect();
    let dealt = deal(&all, &ungrouped.problem, 5, Seed::new(1));
    for class in &ungrouped.problem.classes {
        let of = |fold| {
            let is = |case: &Case| case.label.as_ref().unwrap().as_text().unwrap() == class.as_str();
            all.iter().zip(&dealt).filter(|(case, found)| **found == fold && is(case)).count()
        };
        let counts: Vec<usize> = (0..5).map(of).collect();
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{class}: {counts:?}");
    }
    assert_eq!(dealt, deal(&all, &ungrouped.problem, 5, Seed::new(1)));
    assert_ne!(dealt, deal(&all, &ungrouped.problem, 5, Seed::new(2)));
}

#[test]
fn a_group_that_is_alone_is_divided() {
    let mut cases = look(&table(), "outcome", &Roles { group: Some("patient".into()), ..Roles::default() }).unwrap();
    let first = cases.cases[0].group.clone();
    cases.cases.retain(|case| case.group == first);
    let ungrouped: Vec<Case> = cases.cases.iter().map(|case| Case { group: None, ..case.clone() }).collect();
    let divide = |chosen: &[Case]| sides(chosen, &cases.problem, 0.25, Seed::new(1)).unwrap();
    let found = divide(&cases.cases);
    assert!(!found.train.is_empty() && !found.validation.is_empty());
    assert_eq!(found, divide(&ungrouped));
}

#[test]
fn a_split_column_is_obeyed() {
    let csv = (0..30).fold("a,y,part\n".to_owned(), |csv, row| {
        format!("{csv}{},{},{}\n", row * 7 % 13, row % 2, ["train", "Test", "val"][row % 3])
    });
    let roles = Roles { split: Some("part".into()), ..Roles::default() };
    let cases = look(&csv, "y", &roles).unwrap();
    let found = sides(&cases.cases, &cases.problem, 0.2, Seed::new(0)).unwrap();
    assert!(found.train.iter().all(|index| index % 3 == 0) && found.test.iter().all(|index| index % 3 == 1));
    let cases = look(&csv.replace("Test", "somewhere"), "y", &roles).unwrap();
    assert!(sides(&cases.cases, &cases.problem, 0.2, Seed::new(0)).unwrap_err().to_string().contains("`somewhere`"));
}

#[test]
fn a_table_in_latin_1_is_refused_with_the_byte_s_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cases.csv"), b"a,y\ncaf\xe9,1\n").unwrap();
    let error = Dataset::open(&[SourceConfig::new("cases.csv")], folder.path()).unwrap_err().to_string();
    assert!(error.contains("byte 7"), "{error}");
}

#[test]
fn thousands_of_columns_are_read() {
    let heads: Vec<String> = (0..3000).map(|column| format!("c{column}")).collect();
    let mut csv = format!("{},y\n", heads.join(","));
    for row in 0..30 {
        let cells: Vec<String> = (0..3000).map(|column| format!("{}.5", (row * 31 + column * 7) % 97)).collect();
        csv += &format!("{},{}\n", cells.join(","), row % 2);
    }
    let cases = look(&csv, "y", &Roles::default()).unwrap();
    assert_eq!(cases.of(|kind| kind == Kind::Number).count(), 3000);
}

/// The tables of the reference data, where they are at hand.
#[test]
fn real_tables_are_understood() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let kinds = |file: &str, label: &str| {
        let path = shared.join(file);
        let data = Dataset::open(&[SourceConfig::new(path.to_string_lossy())], Path::new("")).ok()?;
        let cases = Cases::look(&data, label, &Roles::default()).unwrap();
        Some(
            cases
                .columns
                .iter()
                .map(|column| (column.name.clone(), column.kind.to_string()))
                .collect::<BTreeMap<_, _>>(),
        )
    };
    let Some(titanic) = kinds("tables/titanic.csv", "survived") else { return };
    for (name, kind) in [("name", "text"), ("sex", "category"), ("age", "number"), ("ticket", "identifier")] {
        assert_eq!(titanic[name], kind, "{name}");
    }
    let xray = kinds("xray/cases.csv", "finding").or_else(|| kinds("xray/metadata.csv", "finding"));
    if let Some(xray) = xray {
        assert_eq!((xray["image"].as_str(), xray["notes"].as_str()), ("image", "text"));
    }
    let esol = kinds("molecules/esol_delaney.csv", "measured log solubility in mols per litre").unwrap();
    assert_eq!(esol["smiles"], "molecule");
    let proteins = kinds("proteins/gb1_three_vs_rest_train.csv", "target").unwrap();
    assert_eq!(proteins["sequence"], "sequence");
}
