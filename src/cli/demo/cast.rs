//! Who plays: two services, two sides each, and what each side answers.

/// A service of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// `servicea`, which calls nobody.
    A,
    /// `serviceb`, which calls `servicea` and is called by the demo's clients.
    B,
}

/// A color of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What runs before the release.
    Blue,
    /// What runs after it.
    Green,
}

/// One value for blue and one for green.
pub type PerSide<T> = [T; 2];

impl Member {
    /// In the order of their names.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "servicea",
            Self::B => "serviceb",
        }
    }

    /// Its DNS name.
    pub fn host(self) -> String {
        format!("{}.local", self.name())
    }

    /// The DNS name that reaches one side of it only.
    pub fn preview(self, side: Side) -> String {
        format!("{}.{}", side.name(), self.host())
    }

    /// Instances of each side.
    pub fn instances(self) -> usize {
        match self {
            Self::A => 3,
            Self::B => 2,
        }
    }

    /// What a side of it says: the whole answer of `servicea`, the beginning of that of `serviceb`.
    pub fn words(self, side: Side) -> &'static str {
        match (self, side) {
            (Self::A, Side::Blue) => "world!",
            (Self::A, Side::Green) => "teal world!",
            (Self::B, Side::Blue) => "Hello ",
            (Self::B, Side::Green) => "Welcome to the ",
        }
    }
}

impl Side {
    /// In the order of [`PerSide`].
    pub const ALL: [Self; 2] = [Self::Blue, Self::Green];

    /// The color's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

/// What a client sees when these sides serve it.
pub fn answer(b: Side, a: Side) -> String {
    format!("{}{}", Member::B.words(b), Member::A.words(a))
}

/// Which sides of `serviceb` and `servicea` gave an answer.
pub fn sides_of(text: &str) -> Option<(Side, Side)> {
    let all = Side::ALL.into_iter().flat_map(|b| Side::ALL.map(|a| (b, a)));
    all.into_iter().find(|(b, a)| answer(*b, *a) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_who_gave_it() {
        assert_eq!(sides_of("Hello world!"), Some((Side::Blue, Side::Blue)));
        assert_eq!(sides_of("Welcome to the world!"), Some((Side::Green, Side::Blue)));
        assert_eq!(sides_of("Welcome to the teal world!"), Some((Side::Green, Side::Green)));
        assert_eq!(sides_of("Hello"), None);
    }
}
