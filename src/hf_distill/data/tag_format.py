"""How tags are written: their scheme, and the names of their entity types."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..arguments import DataArguments
from ..runtime.schemes import read_labels
from ..runtime.tags import UserError

# Names for the same entity type in the MTL-Bioinformatics-2016 corpora, in any case.
ENTITY_ALIASES = {
    "biomedical": {
        "PROTEIN": "GENE",
        "GGP": "GENE",
        "CL": "CELL_TYPE",
        "CHEBI": "CHEMICAL",
        "SPECIES": "TAXON",
        "CELLLINE": "CELL_LINE",
    }
}


@dataclass(frozen=True)
class TagFormat:
    """How the tags of a corpus, or the labels of a teacher, are written.

    Attributes:
        scheme: their scheme, one of `SCHEMES`; None: detect it.
        entity_type: the entity type of tags without one (B, I, O).
        renamed: pairs of entity types, an old and a new name.
        aliases: a table of `ENTITY_ALIASES`, applied to what is not renamed.
        names: the tags that integers stand for, in order.

    Examples:
        >>> genes = TagFormat(renamed=(("GENE", "Gene"),))
        >>> train = load_tsv("train.tsv", "IOBES", tag_format=genes)
    """

    scheme: str | None = None
    entity_type: str | None = None
    renamed: tuple[tuple[str, str], ...] = ()
    aliases: str | None = None
    names: tuple[str, ...] = ()

    def read(self, labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The scheme, and the tag of each label, as `read_labels` gives them, with the entity types renamed.

        Args:
            labels: the place of each label, to begin an error message with.

        Raises:
            UserError: the labels are of no scheme, or integers without a name.
        """
        named = {label: self._name(label, place) for label, place in labels.items()}
        places = {name: labels[label] for label, name in reversed(named.items())}
        scheme, tags = read_labels(dict(reversed(places.items())), self.scheme, self.entity_type)
        return scheme, {label: self.rename(tags[name]) for label, name in named.items()}

    def _name(self, label: str, place: str) -> str:
        """The name of an integer label; any other as it is."""
        if not label.isdecimal():
            return label
        if not self.names:
            raise UserError(
                f"{place}the tag {label!r:.200} is a number: say what each stands for, --tag_names O B-GENE ..."
            )
        if int(label) >= len(self.names):
            raise UserError(f"{place}the tag {label!r:.200} has no name: --tag_names has 0 to {len(self.names) - 1}.")
        return self.names[int(label)]

    def rename(self, tag: str) -> str:
        """A tag with its entity type renamed."""
        prefix, hyphen, entity = tag.partition("-")
        renamed = dict(self.renamed).get(entity)
        if renamed is None and self.aliases:
            table = ENTITY_ALIASES[self.aliases]
            renamed = (table | {name: name for name in table.values()}).get(entity.upper())
        return f"{prefix}{hyphen}{renamed or entity}"


def corpus_format(args: DataArguments) -> TagFormat:
    """The format of a run's corpora. (That of a teacher's labels differs in the scheme.)"""
    pairs = [tuple(pair.split("=", 1)) for pair in args.rename_types]
    renamed = tuple((old, new) for old, new in pairs)
    return TagFormat(args.input_scheme, args.entity_type, renamed, args.entity_aliases, tuple(args.tag_names))


def differing_in_case(types: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of a name in `types` and one in `others` that differ in case alone."""
    return [(one, other) for one in types for other in others if one != other and one.lower() == other.lower()]
