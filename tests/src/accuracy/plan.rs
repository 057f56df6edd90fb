//! Random trees of requests, and how they are told to the functions. In: a row of the table, the functions' ports.
//! Out: trees, and the headers of `/hop`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use super::random::Random;

/// Who calls whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Three functions, one calling the next.
    Chain,
    /// One function that calls four times at once, over two others.
    Fan,
    /// One function that calls two others, one after the other.
    Sequence,
    /// One function that calls another.
    Pair,
    /// One that calls another by a thread of its own, and does not wait for it.
    Background,
    /// The same by a thread of a pool.
    Abandon,
    /// A proxy passes a request on to one function. Here and below, the first digit of an id is the place in the tree.
    Passed,
    /// The same, and asks it before whether it may.
    Asked,
    /// The same, and sends it once more, for nobody.
    Mirrored,
    /// All of it.
    Mixed,
}

/// How long a function works before and after its calls: 3 ms in the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    Constant,
    Exponential,
    /// Nine of ten take 1 ms, the tenth 21 ms.
    Bimodal,
    /// Those that call others do nothing else; those that do not, as `Exponential`.
    Prompt,
}

/// What a score is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    pub in_flight: usize,
    pub shape: Shape,
    pub service: Service,
}

/// Functions of a tree.
pub const FUNCTIONS: usize = 3;

/// One request of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    pub id: u64,
    /// The id of the request that made it; 0: the driver.
    pub caller: u64,
}

/// A tree of requests: the root is the first.
#[derive(Clone, Debug)]
pub struct Tree {
    pub hops: Vec<Hop>,
    pub target: String,
    /// The header `X-Plan`.
    pub plan: String,
}

/// What the paths say.
#[derive(Debug)]
pub enum Names {
    /// A request's id and its caller's.
    Plain,
    /// A random token for each request: what it stands for is known here only.
    Secret(Mutex<HashMap<String, Hop>>),
}

impl Row {
    /// All rows of a run, in the order in which they are filled.
    pub fn all(in_flight: &[usize], services: &[Service]) -> Vec<Self> {
        let mut rows = Vec::new();
        for &in_flight in in_flight {
            for shape in [Shape::Chain, Shape::Fan] {
                rows.extend(services.iter().map(|&service| Self {
                    in_flight,
                    shape,
                    service,
                }));
            }
        }
        rows
    }

    /// The rows of a run where no timer comes between a request and its calls.
    pub fn without_timers(in_flight: &[usize]) -> Vec<Self> {
        let shapes = [Shape::Chain, Shape::Fan, Shape::Sequence];
        let of = |shape| Self::of(in_flight, shape, Service::Prompt);
        shapes.into_iter().flat_map(of).collect()
    }

    /// The rows of a run of another shape.
    pub fn of(in_flight: &[usize], shape: Shape, service: Service) -> Vec<Self> {
        let row = |in_flight: &usize| Self {
            in_flight: *in_flight,
            shape,
            service,
        };
        in_flight.iter().map(row).collect()
    }

    /// A new tree over functions at these ports.
    pub fn tree(self, ports: [u16; FUNCTIONS], names: &Names, random: &mut Random) -> Tree {
        // Each node: its function, its caller's index.
        let nodes: &[(usize, Option<usize>)] = match self.shape {
            Shape::Chain => &[(0, None), (1, Some(0)), (2, Some(1))],
            Shape::Pair | Shape::Background | Shape::Abandon => &[(0, None), (1, Some(0))],
            Shape::Sequence => &[(0, None), (1, Some(0)), (2, Some(0))],
            Shape::Passed => &[(0, None), (1, Some(0))],
            Shape::Asked | Shape::Mirrored => &[(0, None), (1, Some(0)), (1, Some(0))],
            Shape::Mixed => &[(0, None), (1, Some(0)), (1, Some(0)), (1, Some(0))],
            Shape::Fan => &[
                (0, None),
                (1, Some(0)),
                (2, Some(0)),
                (1, Some(0)),
                (2, Some(0)),
            ],
        };
        let digits = random.number() >> 4 | 1;
        let mut hops: Vec<Hop> = Vec::new();
        for (place, (_, caller)) in nodes.iter().enumerate() {
            let id = match self.shape.place(place) {
                Some(place) => place << 60 | digits,
                None => random.number() | 1,
            };
            let caller = caller.map_or(0, |caller| hops[caller].id);
            hops.push(Hop { id, caller });
        }
        let targets: Vec<_> = hops.iter().map(|hop| names.target(*hop, random)).collect();
        let mode = match self.shape {
            Shape::Chain | Shape::Sequence | Shape::Pair => 's',
            Shape::Fan => 'p',
            Shape::Background => 'b',
            Shape::Abandon => 'a',
            // The proxy reads no plan, and the function calls nobody.
            Shape::Passed | Shape::Asked | Shape::Mirrored | Shape::Mixed => 's',
        };
        let describe = |index: usize| {
            let children: Vec<_> = (0..nodes.len())
                .filter(|child| self.shape.place(0).is_none() && nodes[*child].1 == Some(index))
                .map(|child| child.to_string())
                .collect();
            let (port, target) = (ports[nodes[index].0], &targets[index]);
            (port, target.clone(), children.join(","))
        };
        let texts: Vec<_> = (0..nodes.len())
            .map(|index| {
                let (port, target, children) = describe(index);
                let mut draw = || match (self.service, children.is_empty()) {
                    (Service::Prompt, false) => 0,
                    (service, _) => service.draw(random),
                };
                let (before, after) = (draw(), draw());
                format!("{port};{target};{before};{after};{mode};{children}")
            })
            .collect();
        Tree {
            target: targets[0].clone(),
            plan: texts.join("|"),
            hops,
        }
    }
}

impl Shape {
    /// The first digit of the id of a request at this place of the tree, where a proxy makes one of another.
    fn place(self, index: usize) -> Option<u64> {
        let digits: &[u64] = match self {
            Self::Passed => &[0, 1],
            Self::Asked => &[0, 1, 2],
            Self::Mirrored => &[0, 1, 3],
            Self::Mixed => &[0, 1, 2, 3],
            _ => return None,
        };
        digits.get(index).copied()
    }
}

impl Service {
    pub const ALL: [Self; 3] = [Self::Constant, Self::Exponential, Self::Bimodal];

    /// Milliseconds.
    fn draw(self, random: &mut Random) -> u64 {
        match self {
            Self::Constant => 3,
            Self::Exponential | Self::Prompt => (-3.0 * (1.0 - random.share()).ln()).round() as u64,
            Self::Bimodal if random.below(10) == 0 => 21,
            Self::Bimodal => 1,
        }
    }
}

impl Names {
    pub fn secret() -> Self {
        Self::Secret(Mutex::default())
    }

    fn target(&self, hop: Hop, random: &mut Random) -> String {
        match self {
            Self::Plain => format!("/hop/{:016x}/{:016x}", hop.id, hop.caller),
            Self::Secret(meanings) => {
                let token = format!("/hop/{:016x}{:016x}", random.number(), random.number());
                if let Ok(mut meanings) = meanings.lock() {
                    meanings.insert(token.clone(), hop);
                }
                token
            }
        }
    }

    /// What a path says, if it is one of ours.
    pub fn read(&self, path: &str) -> Option<Hop> {
        match self {
            Self::Plain => {
                let (id, caller) = path.strip_prefix("/hop/")?.split_once('/')?;
                Some(Hop {
                    id: u64::from_str_radix(id, 16).ok()?,
                    caller: u64::from_str_radix(caller, 16).ok()?,
                })
            }
            Self::Secret(meanings) => meanings.lock().ok()?.get(path).copied(),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chain => "chain",
            Self::Sequence => "twice",
            Self::Fan => "fan",
            Self::Pair => "pair",
            Self::Background | Self::Abandon => "loose",
            Self::Passed => "pass",
            Self::Asked => "ask",
            Self::Mirrored => "copy",
            Self::Mixed => "mixed",
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Constant => "constant",
            Self::Exponential => "exponential",
            Self::Bimodal => "bimodal",
            Self::Prompt => "prompt",
        })
    }
}
