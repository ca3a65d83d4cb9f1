//! What must hold of every page.

use std::sync::Arc;

use crate::*;

const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp; </style> -->";

fn sound() -> Media {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    (0..800).for_each(|n| writer.write_sample((n % 100) as i16 * 100).unwrap());
    writer.finalize().unwrap();
    Media::Sound { bytes: bytes.into_inner().into(), mime: EVIL.to_owned() }
}

/// Everything that a page can hold, with `text` wherever a caller's words go.
fn full_page(text: &str) -> Page {
    let word = || text.to_owned();
    let picture = || Media::Picture { bytes: Arc::from(&b"not a picture"[..]), mime: word() };
    let answer = |correct| Answer {
        media: vec![picture(), sound(), Media::Text(word()), Media::Row(vec![(word(), word()); 9])],
        score: 0.5,
        correct,
    };
    let query =
        WallQuery { query: vec![Media::Text(word())], answers: vec![answer(false)], wanted: vec![Media::Text(word())] };
    let wall = Wall { title: word(), note: word(), queries: vec![query, WallQuery::default()] };
    let points = (0..50).map(|x| (f64::from(x), f64::from(x * x))).collect();
    let chart = Chart {
        title: word(),
        note: word(),
        x_label: word(),
        y_label: word(),
        series: vec![Series::new(text, points).smoothed(), Series::new(text, vec![(1.0, 2.0), (2.0, f64::NAN)])],
        references: vec![Reference { label: word(), value: 3.0 }],
        log_y: true,
        plain: false,
    };
    let bar = || Bar { name: word(), detail: word(), value: Some(-0.5), interval: Some([-1.0, f64::NAN]) };
    let bars = || Bars { title: word(), note: word(), bars: vec![bar(), Bar::default()], full: None };
    let matrix = Matrix { title: word(), note: word(), names: vec![word(); 2], counts: vec![vec![3, 0], vec![0, 0]] };
    let cells = vec![
        Cell::Text(word()),
        Cell::Empty,
        Cell::Mark(true),
        Cell::Number { value: f64::NAN, decimals: 1 },
        Cell::Bar { value: -1.0, decimals: 2, full: 0.0 },
        Cell::Heat { value: 0.9, decimals: 2, full: 1.0 },
    ];
    let table = Table { title: word(), note: word(), columns: vec![word(); 6], rows: vec![cells] };
    Page {
        title: word(),
        subtitle: word(),
        facts: vec![(word(), word())],
        sections: vec![
            Section::Chart(chart.clone()),
            Section::ChartGrid { title: word(), note: word(), charts: vec![chart, Chart::default()] },
            Section::Table(table),
            Section::Bars { title: word(), note: word(), bars: vec![bars(), Bars::default()] },
            Section::Matrix(matrix),
            Section::Drawings {
                title: word(),
                note: word(),
                items: vec![(word(), vec![sound(), Media::Text(word())])],
            },
            Section::Matrix(Matrix::default()),
            Section::Wall(wall.clone()),
            Section::Wall(wall),
            Section::Gallery(Gallery {
                title: word(),
                note: word(),
                asked: vec![picture(), sound()],
                found: vec![
                    Exhibit { media: vec![picture(), Media::Text(word())], name: word(), source: word(), score: 0.25 },
                    Exhibit::default(),
                ],
            }),
            Section::Prose { title: word(), text: word() },
        ],
    }
}

/// The tags of a page, attributes and all.
fn tags(html: &str) -> Vec<&str> {
    html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()).collect()
}

#[test]
fn words_cannot_become_markup() {
    let (plain, evil) = (render(&full_page("word")), render(&full_page(EVIL)));
    let names =
        |html| tags(html).into_iter().map(|tag| tag.split([' ', '\n']).next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&plain), names(&evil), "words changed the page's structure");
    assert!(!evil.contains("<script>alert"));
    assert!(tags(&evil).iter().all(|tag| !tag.contains("onerror=alert(2)") || tag.contains("&lt;img")));
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let html = render(&full_page("word"));
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("@import"));
    for tag in tags(&html) {
        for attribute in ["src=\"", "href=\""] {
            for target in tag.split(attribute).skip(1) {
                assert!(target.starts_with("data:") || target.starts_with('#'), "{tag}");
            }
        }
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn a_picture_is_embedded_once() {
    let html = render(&full_page("word"));
    assert_eq!(html.matches("data:word;base64,bm90IGEgcGljdHVyZQ==").count(), 1);
    assert_eq!(html.matches("href=\"#p0\"").count(), 4, "two of the walls, two of the gallery");
    assert_eq!(html.matches("<audio").count(), 1);
    assert!(html.contains("<audio id=\"s0\" controls preload=\"none\" src=\"data:scriptalert1/script"));
}

#[test]
fn empty_things_are_pages_too() {
    assert!(render(&Page::default()).starts_with("<!DOCTYPE html>"));
    let chart = Chart { series: vec![Series::new("nothing", vec![(f64::NAN, 1.0)])], ..Chart::default() };
    let sections = vec![Section::Chart(chart), Section::Wall(Wall::default()), Section::Table(Table::default())];
    assert!(render(&Page { sections, ..Page::default() }).contains("No values yet."));
    let one = Chart { series: vec![Series::new("one", vec![(3.0, 0.0)])], ..Chart::default() };
    assert!(!render(&Page { sections: vec![Section::Chart(one)], ..Page::default() }).contains("NaN"));
}

/// Numbers of all coordinates in a page's drawings.
fn coordinates(html: &str) -> Vec<f64> {
    let paths = html.split(" d=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    paths
        .flat_map(|path| path.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')))
        .filter_map(|n| n.parse().ok())
        .collect()
}

#[test]
fn curves_stay_in_the_drawing() {
    let points = (0..5000).map(|x| (f64::from(x), 5.0 / (1.0 + f64::from(x)) + 0.1)).collect();
    let chart = Chart { series: vec![Series::new("loss", points).smoothed()], ..Chart::default() };
    let page = Page {
        sections: vec![Section::ChartGrid { title: String::new(), note: String::new(), charts: vec![chart] }],
        ..Page::default()
    };
    let html = render(&page);
    assert!(html.len() < 60_000, "a long curve is thinned: {}", html.len());
    assert!(coordinates(&html).iter().all(|c| (-2000.0..=480.0).contains(c)));
}

#[test]
fn a_logarithmic_trend_stays_positive() {
    let points = (0..400).map(|x| (f64::from(x), if x == 390 { 1e3 } else { 1e-3 })).collect();
    let chart = Chart { series: vec![Series::new("norm", points).smoothed()], log_y: true, ..Chart::default() };
    let html = render(&Page { sections: vec![Section::Chart(chart)], ..Page::default() });
    assert!(!html.contains("NaN") && html.contains("(log)"));
}

const LOG: &str = r#"{"step":1,"lr":0.0001,"grad_norm":3.5,"loss":9.0,"parts":{"contrastive image-text":{"value":4.8,"items":128},"masked text":{"value":6.0,"items":77}}}
{"step":2,"lr":0.0002,"grad_norm":3.0,"loss":8.0,"parts":{"contrastive image-text":{"value":4.0,"items":128}}}
{"step":2,"evaluation":{"loss/masked text":5.0,"loss/masked text/constant":5.5,"retrieval/image→text/recall@1":0.25,"retrieval/text→image/recall@1":0.5,"retrieval/image→text/chance":0.01,"retrieval/image→text/equal content/recall@1":0.75}}
{"step":2,"lr":0.0002,"grad_norm":null,"loss":7.0,"parts":{"contrastive image-text":{"value":3.0,"items":128}}}
{"step":3,"lr":0.00"#;

const TIMING: &str = r#"{"step":1,"samples_per_second":100.0,"wait":0.001,"gradients":0.5,"optimizer":0.01}
{"step":2,"evaluation":1.5}"#;

#[test]
fn a_log_becomes_charts() {
    let sections = training_sections(LOG, TIMING);
    let grid = |place: usize| match &sections[place] {
        Section::ChartGrid { charts, .. } => charts,
        other => panic!("{other:?}"),
    };
    let losses = grid(0);
    assert_eq!(losses[0].series[0].points, [(1.0, 4.8), (2.0, 3.0)], "the later line of a step counts");
    assert_eq!(losses[1].series[1].points, [(2.0, 5.0)]);
    assert_eq!(losses[1].references[0].value, 5.5);
    let recall = grid(1);
    assert_eq!(recall[0].series.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["image → text", "text → image"]);
    assert_eq!((recall[0].series[0].points[0].1, recall[0].references[0].value), (0.25, 0.01));
    assert_eq!(grid(2)[2].series[0].points, [(1.0, 3.5), (2.0, 3.0)]);
    assert_eq!(grid(2)[3].series[0].points, [(1.0, 100.0)]);
    assert_eq!(grid(2)[4].series[1].points, [(1.0, 500.0)]);
    assert!(matches!(&sections[3], Section::Prose { text, .. } if text.starts_with("1 lines")));
    assert!(
        training_sections("", "")
            .iter()
            .all(|section| matches!(section, Section::ChartGrid { charts, .. } if charts.is_empty()))
    );
}

#[test]
fn recall_is_drawn_over_epochs_where_they_are_known() {
    let line = |step: u32| format!("{{\"step\":{step},\"epoch\":{},\"loss\":1.0}}\n", f64::from(step) / 4.0);
    let found = r#"{"step":6,"epoch":1.5,"evaluation":{"retrieval/image→text/recall@1":0.25}}"#;
    let log: String = (1..=6).map(line).chain([found.to_owned()]).collect();
    let sections = training_sections(&log, "");
    let Section::ChartGrid { charts, .. } = &sections[1] else { panic!("{sections:?}") };
    assert_eq!((charts[0].x_label.as_str(), charts[0].series[0].points[0]), ("epoch", (1.5, 0.25)));
}

#[test]
fn metrics_become_a_table_charts_bars_and_a_matrix() {
    let measure = |metric: &str| format!(r#"{{"metric":"{metric}","value":0.75,"interval":[0.5,0.9]}}"#);
    let group = |name: &str, rows| format!(r#"{{"name":"{name}","rows":{rows},"measures":[{}]}}"#, measure("AUROC"));
    let class = |name: &str| format!(r#"{{"name":"{name}","rows":2,"precision":0.5,"recall":null,"f1":0.25}}"#);
    let json = format!(
        r#"{{"rows":4,"measures":[{},{}],"groupings":[{{"name":"sex","groups":[{},{}]}}],"detail":{{"kind":"classes",
        "classes":[{},{}],"confusion":[[1,1],[0,2]],"majority":0.5,
        "reliability":[{{"rows":4,"confidence":0.8,"accuracy":0.75}}],
        "curves":[{{"class":"ill","auroc":0.75,"points":[[0,0],[0,0.5],[1,1]]}}]}}}}"#,
        measure("AUROC"),
        measure("log loss"),
        group("woman", 3),
        group("man", 1),
        class("well"),
        class("ill")
    );
    let report = serde_json::from_str(&json).unwrap();
    let sections = metric_sections("Test", &report);
    let Section::Table(table) = &sections[0] else { panic!("{sections:?}") };
    assert!(matches!(table.rows[0][1], Cell::Bar { value: 0.75, .. }));
    assert!(matches!(table.rows[1][1], Cell::Number { .. }), "a loss is no share");
    let bars = sections.iter().find_map(|section| match section {
        Section::Bars { bars, .. } => Some(bars),
        _ => None,
    });
    assert_eq!((bars.unwrap()[0].title.as_str(), bars.unwrap()[0].bars[1].detail.as_str()), ("AUROC", "1 rows"));
    let html = render(&Page { sections, ..Page::default() });
    for wanted in ["well → ill: 1 of 2", "ill (0.750)", "class=\"whisker\"", "perfect"] {
        assert!(html.contains(wanted), "{wanted}");
    }
}
