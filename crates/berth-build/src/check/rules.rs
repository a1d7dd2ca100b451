//! The rules: BuildKit's 22 by their names, texts and addresses, and four of ours.
//!
//! Invariant: a rule's name, description and address never change; scripts compare them.

/// A rule that a Dockerfile can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the description says it, next to the name")]
pub enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JSONArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    InvalidBaseImagePlatform,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
    PackageListAlone,
    CacheHostileOrder,
    SecretValue,
    LargeBaseImage,
}

/// The rules that this build knows beyond BuildKit's. They give advice: no count, no exit code depends on them.
const ADVICE: [Rule; 4] =
    [Rule::PackageListAlone, Rule::CacheHostileOrder, Rule::SecretValue, Rule::LargeBaseImage];

impl Rule {
    /// Its name: what `# check=skip=` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.texts().0
    }

    /// What it asks for, in a sentence.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.texts().2
    }

    /// Where it is explained.
    #[must_use]
    pub fn url(self) -> Option<String> {
        let page = self.texts().1;
        (!page.is_empty()).then(|| format!("https://docs.docker.com/go/dockerfile/rule/{page}/"))
    }

    /// Whether it is off unless asked for.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }

    /// Whether it gives advice only.
    #[must_use]
    pub fn is_advice(self) -> bool {
        ADVICE.contains(&self)
    }

    /// Name, page, description.
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::StageNameCasing => {
                ("StageNameCasing", "stage-name-casing", "Stage names should be lowercase")
            }
            Self::FromAsCasing => (
                "FromAsCasing",
                "from-as-casing",
                "The 'as' keyword should match the case of the 'from' keyword",
            ),
            Self::NoEmptyContinuation => (
                "NoEmptyContinuation",
                "no-empty-continuation",
                "Empty continuation lines will become errors in a future release",
            ),
            Self::ConsistentInstructionCasing => (
                "ConsistentInstructionCasing",
                "consistent-instruction-casing",
                "All commands within the Dockerfile should use the same casing (either upper or lower)",
            ),
            Self::DuplicateStageName => {
                ("DuplicateStageName", "duplicate-stage-name", "Stage names should be unique")
            }
            Self::ReservedStageName => (
                "ReservedStageName",
                "reserved-stage-name",
                "Reserved words should not be used as stage names",
            ),
            Self::JSONArgsRecommended => (
                "JSONArgsRecommended",
                "json-args-recommended",
                "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
            ),
            Self::MaintainerDeprecated => (
                "MaintainerDeprecated",
                "maintainer-deprecated",
                "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
            ),
            Self::UndefinedArgInFrom => {
                ("UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs")
            }
            Self::WorkdirRelativePath => (
                "WorkdirRelativePath",
                "workdir-relative-path",
                "Relative workdir without an absolute workdir declared within the build can have unexpected results \
                 if the base image changes",
            ),
            Self::UndefinedVar => {
                ("UndefinedVar", "undefined-var", "Variables should be defined before their use")
            }
            Self::MultipleInstructionsDisallowed => (
                "MultipleInstructionsDisallowed",
                "multiple-instructions-disallowed",
                "Multiple instructions of the same type should not be used in the same stage",
            ),
            Self::LegacyKeyValueFormat => (
                "LegacyKeyValueFormat",
                "legacy-key-value-format",
                "Legacy key/value format with whitespace separator should not be used",
            ),
            Self::InvalidBaseImagePlatform => (
                "InvalidBaseImagePlatform",
                "invalid-base-image-platform",
                "Base image platform does not match expected target platform",
            ),
            Self::RedundantTargetPlatform => (
                "RedundantTargetPlatform",
                "redundant-target-platform",
                "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
            ),
            Self::SecretsUsedInArgOrEnv => (
                "SecretsUsedInArgOrEnv",
                "secrets-used-in-arg-or-env",
                "Sensitive data should not be used in the ARG or ENV commands",
            ),
            Self::InvalidDefaultArgInFrom => (
                "InvalidDefaultArgInFrom",
                "invalid-default-arg-in-from",
                "Default value for global ARG results in an empty or invalid base image name",
            ),
            Self::FromPlatformFlagConstDisallowed => (
                "FromPlatformFlagConstDisallowed",
                "from-platform-flag-const-disallowed",
                "FROM --platform flag should not use a constant value",
            ),
            Self::CopyIgnoredFile => (
                "CopyIgnoredFile",
                "copy-ignored-file",
                "Attempting to Copy file that is excluded by .dockerignore",
            ),
            Self::InvalidDefinitionDescription => (
                "InvalidDefinitionDescription",
                "invalid-definition-description",
                "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. \
                 If this is not intended to be a description comment, add an empty line or comment between the \
                 instruction and the comment.",
            ),
            Self::ExposeProtoCasing => (
                "ExposeProtoCasing",
                "expose-proto-casing",
                "Protocol in EXPOSE instruction should be lowercase",
            ),
            Self::ExposeInvalidFormat => (
                "ExposeInvalidFormat",
                "expose-invalid-format",
                "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an \
                 error in a future release",
            ),
            Self::PackageListAlone => (
                "PackageListAlone",
                "",
                "A package list fetched by a step of its own is taken from the cache long after it is out of date",
            ),
            Self::CacheHostileOrder => {
                ("CacheHostileOrder", "", "What changes often should stand below what is expensive to repeat")
            }
            Self::SecretValue => {
                ("SecretValue", "", "A secret in a Dockerfile can be read by everyone who has the image")
            }
            Self::LargeBaseImage => (
                "LargeBaseImage",
                "",
                "The last stage should stand on an image that holds what the program needs to run, no more",
            ),
        }
    }
}
