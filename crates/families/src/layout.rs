//! Which published tensors a module's parameters are made of.

use std::ops::Range;

use sensorium_backbone::{NormKind, TransformerConfig};

/// A tensor of the published layout, or a stretch of zeros that it leaves out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    /// The published name; nothing if the value is zero and not in the file.
    pub name: Option<String>,
    /// As published.
    pub shape: Vec<usize>,
    /// The rows of the published tensor that the parameter has; nothing if all.
    pub rows: Option<Range<usize>>,
}

impl Piece {
    fn new(name: Option<String>, shape: &[usize]) -> Self {
        Self { name, shape: shape.to_vec(), rows: None }
    }

    /// How many rows of the published tensor the parameter has.
    pub(crate) fn height(&self) -> usize {
        self.rows.as_ref().map_or(self.shape.first().copied().unwrap_or(1), Range::len)
    }

    /// Elements of a row.
    pub(crate) fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Where the parameter's elements lie among those of the published tensor.
    pub(crate) fn range(&self) -> Range<usize> {
        let first = self.rows.as_ref().map_or(0, |rows| rows.start);
        first * self.width()..(first + self.height()) * self.width()
    }
}

/// One parameter: its pieces one after the other along their first axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Path of the parameter in the module.
    pub own: String,
    /// At least one.
    pub pieces: Vec<Piece>,
    /// Whether the published matrix `[outputs, inputs]` is kept as `[inputs, outputs]`.
    pub transposed: bool,
}

/// The published layout of a family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    pub(crate) entries: Vec<Entry>,
}

/// The names of a block's parts, below the block's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockNames<'a> {
    /// Norm of attention.
    pub norm1: &'a str,
    /// Queries, keys and values: three names, or one of all.
    pub qkv: &'a [&'a str],
    /// Out of attention.
    pub out: &'a str,
    /// Factor of attention.
    pub scale1: Option<&'a str>,
    /// Cross-attention: norm, queries, keys, values, out.
    pub cross: Option<[&'a str; 5]>,
    /// Norm of the feed-forward.
    pub norm2: &'a str,
    /// Into the feed-forward.
    pub up: &'a str,
    /// Its gate; the same name where one tensor holds both, the gate first.
    pub gate: Option<&'a str>,
    /// Out of the feed-forward.
    pub down: &'a str,
    /// Factor of the feed-forward.
    pub scale2: Option<&'a str>,
    /// Whether matrices are published as `[inputs, outputs]` (GPT-2's `Conv1D`).
    pub conv1d: bool,
    /// Whether keys have no bias though queries and values have one (Whisper).
    pub no_key_bias: bool,
}

impl Layout {
    /// A parameter whose elements lie as in the published tensor; `shape` is the published one.
    pub fn tensor(&mut self, own: impl Into<String>, theirs: impl Into<String>, shape: &[usize]) {
        let pieces = vec![Piece::new(Some(theirs.into()), shape)];
        self.entries.push(Entry { own: own.into(), pieces, transposed: false });
    }

    /// An embedding's table.
    pub fn embedding(&mut self, own: &str, theirs: &str, values: usize, width: usize) {
        self.tensor(format!("{own}.weight"), format!("{theirs}.weight"), &[values, width]);
    }

    /// A linear layer with its bias, if it has one.
    pub fn linear(&mut self, own: &str, theirs: &str, [inputs, outputs]: [usize; 2], bias: bool) {
        self.joined(own, &[(theirs, outputs, bias)], inputs, true);
    }

    /// A convolution over patches, `[width, channels, height, width]`, as a linear layer.
    pub fn patches(&mut self, own: &str, theirs: &str, shape: [usize; 4], bias: bool) {
        let pieces = vec![Piece::new(Some(format!("{theirs}.weight")), &shape)];
        self.entries.push(Entry { own: format!("{own}.weight"), pieces, transposed: true });
        if bias {
            self.tensor(format!("{own}.bias"), format!("{theirs}.bias"), &[shape[0]]);
        }
    }

    /// A normalisation.
    pub fn norm(&mut self, own: &str, theirs: &str, width: usize, kind: NormKind) {
        self.tensor(format!("{own}.gamma"), format!("{theirs}.weight"), &[width]);
        if kind == NormKind::Layer {
            self.tensor(format!("{own}.beta"), format!("{theirs}.bias"), &[width]);
        }
    }

    /// Several published linear layers of the same input as one: name, outputs, whether it has a bias. Where
    /// some have one, the others' is zero.
    fn joined<N: std::fmt::Display>(
        &mut self,
        own: &str,
        theirs: &[(N, usize, bool)],
        inputs: usize,
        transposed: bool,
    ) {
        let weight = |&(ref name, outputs, _): &(N, usize, bool)| {
            let shape = if transposed { [outputs, inputs] } else { [inputs, outputs] };
            Piece::new(Some(format!("{name}.weight")), &shape)
        };
        let pieces = theirs.iter().map(weight).collect();
        self.entries.push(Entry { own: format!("{own}.weight"), pieces, transposed });
        if theirs.iter().any(|&(_, _, bias)| bias) {
            let piece = |&(ref name, outputs, bias): &(N, usize, bool)| {
                Piece::new(bias.then(|| format!("{name}.bias")), &[outputs])
            };
            let pieces = theirs.iter().map(piece).collect();
            self.entries.push(Entry { own: format!("{own}.bias"), pieces, transposed: false });
        }
    }

    /// One of several linear layers `[inputs, outputs]` that are published as one of `all` outputs: that which
    /// begins at output `first`.
    fn part_of_linear(
        &mut self,
        own: &str,
        theirs: &str,
        [inputs, outputs]: [usize; 2],
        [first, all]: [usize; 2],
        bias: bool,
    ) {
        let mut part = |name: &str, shape: &[usize], transposed| {
            let piece =
                Piece { rows: Some(first..first + outputs), ..Piece::new(Some(format!("{theirs}.{name}")), shape) };
            self.entries.push(Entry { own: format!("{own}.{name}"), pieces: vec![piece], transposed });
        };
        part("weight", &[all, inputs], true);
        if bias {
            part("bias", &[all], false);
        }
    }

    /// The blocks of a trunk; `theirs` names block `{}`, `{own}.blocks.{}` is ours.
    pub fn blocks(&mut self, own: &str, theirs: &str, config: &TransformerConfig, names: &BlockNames<'_>) {
        for layer in 0..config.layers {
            let theirs = theirs.replace("{}", &layer.to_string());
            self.block(&format!("{own}.blocks.{layer}"), &theirs, config, names);
        }
    }

    fn block(&mut self, own: &str, theirs: &str, config: &TransformerConfig, names: &BlockNames<'_>) {
        let (width, hidden, biases) = (config.width, config.hidden(), config.biases);
        let [queries, keys, values] = config.qkv_widths();
        let at = |name: &str| format!("{theirs}.{name}");
        let part = |name: &str| format!("{own}.{name}");
        let linear = |layout: &mut Self, own: &str, theirs: &[(&str, usize, bool)], inputs| {
            let theirs: Vec<(String, usize, bool)> =
                theirs.iter().map(|&(name, outputs, bias)| (at(name), outputs, bias)).collect();
            layout.joined(&part(own), &theirs, inputs, !names.conv1d);
        };
        self.norm(&part("norm1"), &at(names.norm1), width, config.norm);
        match names.qkv {
            [all] => linear(self, "qkv", &[(all, queries + keys + values, biases.qkv)], width),
            [query, key, value] => {
                let key_bias = biases.qkv && !names.no_key_bias;
                let parts = [(*query, queries, biases.qkv), (*key, keys, key_bias), (*value, values, biases.qkv)];
                linear(self, "qkv", &parts, width);
            }
            other => panic!("queries, keys and values are one layer or three, not {}", other.len()),
        }
        linear(self, "out", &[(names.out, width, biases.out)], queries);
        if let Some(scale) = names.scale1 {
            self.tensor(part("scale1"), at(scale), &[width]);
        }
        if let Some([norm, query, key, value, out]) = names.cross {
            self.norm(&part("cross.norm"), &at(norm), width, config.norm);
            linear(self, "cross.query", &[(query, queries, biases.qkv)], width);
            let key_bias = biases.qkv && !names.no_key_bias;
            linear(self, "cross.key_value", &[(key, keys, key_bias), (value, values, biases.qkv)], width);
            linear(self, "cross.out", &[(out, width, biases.out)], queries);
        }
        self.norm(&part("norm2"), &at(names.norm2), width, config.norm);
        match names.gate {
            Some(both) if both == names.up => {
                let (sizes, bias) = ([width, hidden], biases.feed_forward);
                let mut half =
                    |own: &str, first| self.part_of_linear(&part(own), &at(both), sizes, [first, 2 * hidden], bias);
                half("gate", 0);
                half("up", hidden);
            }
            gate => {
                linear(self, "up", &[(names.up, hidden, biases.feed_forward)], width);
                if let Some(gate) = gate {
                    linear(self, "gate", &[(gate, hidden, biases.feed_forward)], width);
                }
            }
        }
        linear(self, "down", &[(names.down, width, biases.feed_forward)], hidden);
        if let Some(scale) = names.scale2 {
            self.tensor(part("scale2"), at(scale), &[width]);
        }
    }

    /// Names and shapes of all published tensors.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let pieces = self.entries.iter().flat_map(|entry| &entry.pieces);
        pieces.filter_map(|piece| Some((piece.name.as_deref()?, &piece.shape[..])))
    }
}
