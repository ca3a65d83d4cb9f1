//! Byte-pair merges. The tokenizers library has a trainer too, but its result depends on the order
//! of its hash maps: two runs on the same data can differ in the ids of WordPiece's alphabet and in
//! how ties are broken. Here every choice has one answer.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

/// What was learned.
#[derive(Debug, PartialEq)]
pub(super) struct Subwords {
    /// Entries in the order of their ids: alphabet, then merged pieces.
    pub vocabulary: Vec<String>,
    /// Pairs in the order in which they merge.
    pub merges: Vec<(String, String)>,
}

/// How to learn.
pub(super) struct Learning<'a> {
    /// Symbols that exist whether they are seen or not.
    pub alphabet: Vec<String>,
    /// What marks a symbol that continues a word.
    pub prefix: &'a str,
    /// The most entries.
    pub size: usize,
    /// The least count of a pair that is merged.
    pub min_frequency: u64,
}

type Pair = (u32, u32);

/// One distinct word.
struct Word {
    symbols: Vec<u32>,
    count: i64,
}

/// Where a pair occurs.
#[derive(Default)]
struct Occurrence {
    count: i64,
    /// Words that hold it, or held it once.
    words: Vec<u32>,
}

/// Merges the most frequent pair again and again (Sennrich et al. 2016); of equally frequent pairs
/// the one with the least ids. `words` are distinct, with their counts; their
/// order changes nothing.
pub(super) fn learn(words: &[(String, u64)], learning: &Learning<'_>) -> Subwords {
    let mut vocabulary = alphabet(words, learning);
    let mut ids: HashMap<String, u32> = vocabulary.iter().cloned().zip(0..).collect();
    let mut words = spell(words, &ids, learning.prefix);
    let mut pairs = count(&words);
    // An entry is stale when the pair's count has changed since; it then goes back with the new one.
    let mut queue: BinaryHeap<(i64, Reverse<Pair>)> =
        pairs.iter().map(|(&pair, occurrence)| (occurrence.count, Reverse(pair))).collect();
    let mut merges = Vec::new();
    while vocabulary.len() < learning.size {
        let Some((count, Reverse(pair))) = queue.pop() else { break };
        let now = pairs.get(&pair).map_or(0, |occurrence| occurrence.count);
        if now != count {
            if now > 0 && now < count {
                queue.push((now, Reverse(pair)));
            }
            continue;
        }
        if count < learning.min_frequency.max(1) as i64 {
            break;
        }
        let (left, right) = (vocabulary[pair.0 as usize].clone(), vocabulary[pair.1 as usize].clone());
        let merged = format!("{left}{}", right.strip_prefix(learning.prefix).unwrap_or(&right));
        let id = *ids.entry(merged.clone()).or_insert_with(|| {
            vocabulary.push(merged);
            vocabulary.len() as u32 - 1
        });
        merges.push((left, right));
        for (pair, count) in apply(pair, id, &mut words, &mut pairs) {
            queue.push((count, Reverse(pair)));
        }
    }
    Subwords { vocabulary, merges }
}

/// The given symbols, or else those of the words: the most frequent if they are too many.
fn alphabet(words: &[(String, u64)], learning: &Learning<'_>) -> Vec<String> {
    if !learning.alphabet.is_empty() {
        return learning.alphabet.clone();
    }
    let mut counts = BTreeMap::<String, u64>::new();
    for (word, count) in words {
        for symbol in symbols(word, learning.prefix) {
            *counts.entry(symbol).or_default() += count;
        }
    }
    let mut symbols: Vec<(String, u64)> = counts.into_iter().collect();
    // Stable: equally frequent symbols stay in the order of their text.
    symbols.sort_by_key(|(_, count)| Reverse(*count));
    symbols.truncate(learning.size);
    symbols.sort();
    symbols.into_iter().map(|(symbol, _)| symbol).collect()
}

fn symbols<'a>(word: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    let spell = move |(place, character): (usize, char)| match place {
        0 => character.to_string(),
        _ => format!("{prefix}{character}"),
    };
    word.chars().enumerate().map(spell)
}

/// Words as ids. One with a symbol outside the alphabet teaches nothing, as it becomes unknown.
fn spell(words: &[(String, u64)], ids: &HashMap<String, u32>, prefix: &str) -> Vec<Word> {
    let spell = |(word, count): &(String, u64)| {
        let symbols = symbols(word, prefix).map(|symbol| ids.get(&symbol).copied()).collect::<Option<_>>()?;
        Some(Word { symbols, count: *count as i64 })
    };
    words.iter().filter_map(spell).collect()
}

fn count(words: &[Word]) -> HashMap<Pair, Occurrence> {
    let mut pairs = HashMap::<Pair, Occurrence>::new();
    for (place, word) in words.iter().enumerate() {
        for pair in word.symbols.windows(2) {
            let occurrence = pairs.entry((pair[0], pair[1])).or_default();
            occurrence.count += word.count;
            occurrence.words.push(place as u32);
        }
    }
    pairs
}

/// Merges a pair wherever it occurs; returns the counts of the pairs that became more frequent.
fn apply(pair: Pair, id: u32, words: &mut [Word], pairs: &mut HashMap<Pair, Occurrence>) -> BTreeMap<Pair, i64> {
    let mut places = pairs.remove(&pair).unwrap_or_default().words;
    places.sort_unstable();
    places.dedup();
    let mut risen = BTreeMap::new();
    for place in places {
        let word = &mut words[place as usize];
        for (changed, by) in merge(&mut word.symbols, pair, id) {
            let occurrence = pairs.entry(changed).or_default();
            occurrence.count += by * word.count;
            if by > 0 {
                occurrence.words.push(place);
                risen.insert(changed, 0);
            }
        }
    }
    for (pair, count) in &mut risen {
        *count = pairs[pair].count;
    }
    risen
}

/// Replaces a pair from left to right; returns how often neighbouring pairs appeared (1) or
/// disappeared (-1).
fn merge(symbols: &mut Vec<u32>, pair: Pair, id: u32) -> Vec<(Pair, i64)> {
    let mut changes = Vec::new();
    let mut merged: Vec<u32> = Vec::with_capacity(symbols.len());
    let mut at = 0;
    while at < symbols.len() {
        if symbols[at..].starts_with(&[pair.0, pair.1]) {
            if let Some(&before) = merged.last() {
                changes.extend([((before, pair.0), -1), ((before, id), 1)]);
            }
            if let Some(&after) = symbols.get(at + 2) {
                changes.extend([((pair.1, after), -1), ((id, after), 1)]);
            }
            merged.push(id);
            at += 2;
        } else {
            merged.push(symbols[at]);
            at += 1;
        }
    }
    *symbols = merged;
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[(&str, u64)]) -> Vec<(String, u64)> {
        words.iter().map(|&(word, count)| (word.to_owned(), count)).collect()
    }

    fn learned(list: &[(&str, u64)], prefix: &str, size: usize) -> Subwords {
        learn(&words(list), &Learning { alphabet: Vec::new(), prefix, size, min_frequency: 2 })
    }

    #[test]
    fn the_most_frequent_pair_merges_first_and_ties_go_to_the_least_ids() {
        let subwords = learned(&[("are", 2), ("is", 2), ("red", 1)], "", 100);
        let merges: Vec<_> = subwords.merges.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        // re: 3 times; then a+re and i+s twice each, `a` having the lesser id.
        assert_eq!(merges, [("r", "e"), ("a", "re"), ("i", "s")]);
        assert_eq!(subwords.vocabulary, ["a", "d", "e", "i", "r", "s", "re", "are", "is"]);
    }

    /// The counts kept up to date agree with counting anew after each merge.
    #[test]
    fn counts_agree_with_counting_anew() {
        let list = words(&[("aaaa", 3), ("aaabaaa", 2), ("abab", 5), ("ba", 1), ("babaab", 4), ("aab", 2)]);
        let learning = Learning { alphabet: Vec::new(), prefix: "", size: 12, min_frequency: 1 };
        let mut text: Vec<(Vec<String>, u64)> =
            list.iter().map(|(word, count)| (word.chars().map(String::from).collect(), *count)).collect();
        for (left, right) in learn(&list, &learning).merges {
            let mut counts = HashMap::<(String, String), u64>::new();
            for (word, count) in &text {
                for pair in word.windows(2) {
                    *counts.entry((pair[0].clone(), pair[1].clone())).or_default() += count;
                }
            }
            assert_eq!(counts.values().max(), counts.get(&(left.clone(), right.clone())), "{left}+{right}: {counts:?}");
            for (word, _) in &mut text {
                let mut at = 0;
                while at + 1 < word.len() {
                    if word[at] == left && word[at + 1] == right {
                        word[at] = format!("{left}{right}");
                        word.remove(at + 1);
                    }
                    at += 1;
                }
            }
        }
    }

    #[test]
    fn the_alphabet_keeps_the_most_frequent_symbols() {
        let subwords = learned(&[("ab", 5), ("cb", 1)], "##", 2);
        assert_eq!(subwords.vocabulary, ["##b", "a"]);
        assert_eq!(learned(&[("ab", 5), ("cb", 5)], "##", 2).vocabulary, ["##b", "a"], "a tie");
        assert_eq!(learned(&[("ab", 5), ("cb", 5)], "##", 4).vocabulary, ["##b", "a", "c", "ab"]);
    }
}
