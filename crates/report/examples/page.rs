//! Writes a page with made-up numbers and real pictures and sounds, to look at while changing it:
//! `cargo run --release -p sensorium-report --example page -- emoji.tar page.html`, where the shard
//! holds `key.{png,txt,wav,json}`.

use std::{collections::BTreeMap, error::Error, fs, io::Read, sync::Arc};

use sensorium_report::*;

/// The files of one sample by extension.
type Sample = BTreeMap<String, Arc<[u8]>>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shard, out] = arguments.as_slice() else { return Err("usage: page SHARD.tar OUT.html".into()) };
    let samples = read(shard)?;
    let mut sections = training_sections(&log(), &timing());
    let names: Vec<String> = ["audio", "image", "table", "text"].map(String::from).into();
    let recall = |from: &str, to: &str| (from != to).then(|| final_recall(from, to));
    let note = "Held-out recall@1 by own partner. Chance is 0.003.";
    sections.insert(0, Section::Table(recall_matrix("Recall@1 of every direction", note, &names, recall)));
    sections.push(Section::Table(details(&names)));
    for from in ["image", "text", "audio", "table"] {
        for to in ["text", "image", "audio", "table"].into_iter().filter(|to| *to != from) {
            sections.push(Section::Wall(wall(&samples, from, to)));
        }
    }
    let text = "Everything on this page is made up but the pictures, names and sounds.\n\nIt shows how a page looks.";
    sections.push(Section::Prose { title: "How this was measured".into(), text: text.into() });
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let page = Page {
        title: "emoji-4".into(),
        subtitle: "Text, image, audio and table on one shared trunk, pretrained on the built-in emoji set".into(),
        facts: vec![
            fact("image → text, recall@1", "0.412 (150 × chance)"),
            fact("training samples", "3,062"),
            fact("held-out samples", "363"),
            fact("parameters", "4.81 M"),
            fact("steps", "690 of 690"),
            fact("wall time", "4 min 38 s"),
            fact("device", "flex, 2 threads"),
            fact("seed", "0"),
        ],
        sections,
    };
    fs::write(out, render(&page))?;
    Ok(())
}

fn read(shard: &str) -> Result<Vec<Sample>, Box<dyn Error>> {
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    for entry in tar::Archive::new(fs::File::open(shard)?).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if let Some((key, extension)) = path.split_once('.') {
            samples.entry(key.to_owned()).or_default().insert(extension.to_owned(), bytes.into());
        }
    }
    Ok(samples.into_values().collect())
}

/// Noise between -1 and 1 that is the same every time.
fn noise(seed: usize) -> f64 {
    let hash =
        (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn final_recall(from: &str, to: &str) -> f64 {
    let ease = |name| match name {
        "image" => 0.62,
        "text" => 0.68,
        "audio" => 0.6,
        _ => 0.22,
    };
    ease(from) * ease(to) + 0.01 * noise(from.len() * 7 + to.len())
}

fn log() -> String {
    let mut lines = Vec::new();
    let objectives = [
        ("contrastive image-text", 4.85, 0.3),
        ("contrastive audio-text", 4.85, 0.2),
        ("contrastive image-audio", 4.85, 0.9),
        ("masked text", 6.3, 2.1),
        ("masked image", 1.0, 0.42),
        ("masked audio", 1.1, 0.5),
        ("masked table", 1.6, 0.8),
    ];
    for step in 1..=690_usize {
        let done = step as f64 / 690.0;
        let loss = |place: usize, from: f64, to: f64| {
            (to + (from - to) * (-4.0 * done).exp()) * (1.0 + 0.07 * noise(step * 31 + place))
        };
        let parts: Vec<String> = objectives
            .iter()
            .enumerate()
            .map(|(place, (name, from, to))| {
                format!("\"{name}\":{{\"value\":{:.4},\"items\":128}}", loss(place, *from, *to))
            })
            .collect();
        let rate = if done < 0.1 { done * 10.0 } else { 0.5 + 0.5 * ((done - 0.1) / 0.9 * std::f64::consts::PI).cos() };
        let norm = (2.0 - 1.5 * done) * (1.0 + 0.4 * noise(step)) + if step % 97 == 0 { 9.0 } else { 0.0 };
        lines.push(format!(
            "{{\"step\":{step},\"epoch\":{:.4},\"lr\":{:.6},\"grad_norm\":{norm:.3},\"loss\":{:.4},\"parts\":{{{}}}}}",
            step as f64 / 23.0,
            rate * 1e-3,
            loss(9, 16.0, 3.0),
            parts.join(",")
        ));
        if step % 46 == 0 {
            lines.push(format!(
                "{{\"step\":{step},\"epoch\":{},\"evaluation\":{{{}}}}}",
                step / 23,
                evaluation(done, &objectives)
            ));
        }
    }
    lines.join("\n")
}

fn timing() -> String {
    let line = |step: usize| {
        let gradients = 0.66 + 0.05 * noise(step * 3);
        let wait = if step < 4 { 0.2 } else { 0.002 + 0.0015 * noise(step * 5) };
        let speed = 128.0 / (gradients + wait + 0.016);
        format!(
            "{{\"step\":{step},\"samples_per_second\":{speed:.1},\"wait\":{wait:.5},\"gradients\":{gradients:.4},\"optimizer\":0.016}}"
        )
    };
    (1..=690).map(line).collect::<Vec<_>>().join("\n")
}

fn evaluation(done: f64, objectives: &[(&str, f64, f64)]) -> String {
    let mut found = Vec::new();
    for (name, from, to) in objectives {
        found.push(format!("\"loss/{name}\":{:.4}", to * 1.5 + (from - to * 1.5) * (-3.0 * done).exp()));
        if name.starts_with("masked") {
            found.push(format!("\"loss/{name}/constant\":{:.4}", from * 0.9));
        }
    }
    for from in ["audio", "image", "table", "text"] {
        for to in ["audio", "image", "table", "text"].into_iter().filter(|to| *to != from) {
            let recall = final_recall(from, to) * (1.0 - (-3.5 * done).exp());
            found.push(format!(
                "\"retrieval/{from}→{to}/recall@1\":{recall:.4},\"retrieval/{from}→{to}/chance\":0.0028"
            ));
        }
    }
    found.join(",")
}

fn details(names: &[String]) -> Table {
    let mut rows = Vec::new();
    for from in names {
        for to in names.iter().filter(|to| *to != from) {
            let recall = final_recall(from, to);
            let number = |value, decimals| Cell::Number { value, decimals };
            rows.push(vec![
                Cell::Text(format!("{from} → {to}")),
                Cell::Bar { value: recall, decimals: 3, full: 1.0 },
                number((recall * 1.8).min(1.0), 3),
                number((recall * 2.1).min(1.0), 3),
                number((1.0 / recall).round(), 1),
                number(recall * 1.1, 3),
                number(0.0028, 4),
            ]);
        }
    }
    let columns =
        ["direction", "recall@1", "recall@5", "recall@10", "median rank", "recall@1, equal content", "chance"];
    let note = "363 queries and 363 candidates in each direction. A tie counts against the model.";
    Table { title: "All numbers".into(), note: note.into(), columns: columns.map(String::from).into(), rows }
}

fn media(sample: &Sample, modality: &str) -> Vec<Media> {
    let get = |extension: &str| sample.get(extension).cloned().unwrap_or_default();
    let text = |extension| String::from_utf8_lossy(&get(extension)).trim().to_owned();
    vec![match modality {
        "image" => Media::Picture { bytes: get("png"), mime: "image/png".into() },
        "audio" => Media::Sound { bytes: get("wav"), mime: "audio/wav".into() },
        "text" => Media::Text(text("txt")),
        _ => {
            let pairs = text("json");
            let pairs = pairs.trim_matches(['{', '}']).split(", ").filter_map(|pair| pair.split_once(": "));
            Media::Row(pairs.map(|(name, value)| (name.replace('"', ""), value.replace('"', ""))).collect())
        }
    }]
}

fn wall(samples: &[Sample], from: &str, to: &str) -> Wall {
    let recall = final_recall(from, to);
    let query = |place: usize| {
        let own = (place * 37 + 11) % samples.len();
        let luck = (noise(place * 13 + from.len() + to.len()) + 1.0) / 2.0;
        let right = if luck < recall { 0 } else { ((luck - recall) * 12.0) as usize + 1 };
        let answer = |rank: usize| {
            let sample = if rank == right { own } else { (own * 7 + rank * 53 + 5) % samples.len() };
            let score = 0.86 - 0.07 * rank as f64 - 0.1 * luck + 0.01 * noise(place + rank);
            Answer { media: media(&samples[sample], to), score: score as f32, correct: rank == right }
        };
        WallQuery {
            query: media(&samples[own], from),
            answers: (0..5).map(answer).collect(),
            wanted: media(&samples[own], to),
        }
    };
    Wall {
        title: format!("{from} → {to}"),
        note: "The five best of 363 candidates for 24 held-out queries, best first, with the cosine of each.".into(),
        queries: (0..24).map(query).collect(),
    }
}
