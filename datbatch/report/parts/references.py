"""Works that the methods cite: numbered on the page, as BibTeX beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_CITATION = re.compile(r"\[(@[\w; @]+)\]")


@dataclass(frozen=True)
class Reference:
    """One work."""

    authors: tuple[str, ...]
    """Each as "Family, Initials"; `others`, BibTeX's word, stands for those who are not named here."""
    title: str
    where: str
    """Journal, proceedings or publisher."""
    year: str
    pages: str = ""
    """Of the form "volume:pages", the volume alone, or empty."""
    doi: str = ""
    """DOI, or `arXiv:` with the number, or empty."""
    kind: str = "article"
    """BibTeX's type of entry."""

    def text(self) -> str:
        """Write it as journals of this field do: three authors, then et al."""
        named = [author.replace(",", "") for author in self.authors[:3]] + ["et al"] * (len(self.authors) > 3)
        place = f"{self.where} {self.year}" + (f";{self.pages}" if self.pages else "")
        link = f" doi:{self.doi}" if self.doi.startswith("10.") else f" {self.doi}" if self.doi else ""
        return f"{', '.join(named)}. {self.title}. {place}.{link}"

    def bibtex(self, key: str) -> str:
        """Write it as an entry of a BibTeX file."""
        home = {"article": "journal", "inproceedings": "booktitle", "book": "publisher"}[self.kind]
        volume, _, pages = self.pages.partition(":")
        fields = {
            "author": " and ".join(self.authors),
            "title": "{" + self.title + "}",
            home: self.where,
            "year": self.year,
            "volume": volume,
            "pages": pages.replace("-", "--"),
            "doi": self.doi if self.doi.startswith("10.") else "",
            "eprint": self.doi.removeprefix("arXiv:") if self.doi.startswith("arXiv:") else "",
            "archiveprefix": "arXiv" if self.doi.startswith("arXiv:") else "",
        }
        lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
        return f"@{self.kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"


REFERENCES = {
    "nazari2022": Reference(
        (
            "Nazari, M", "Kluge, A", "Apostolova, I", "Klutmann, S", "Kimiaei, S", "Schroeder, M", "Buchert, R",
        ),
        "Explainable AI to improve acceptance of convolutional neural networks for automatic classification of "
        "dopamine transporter SPECT in the diagnosis of clinically uncertain parkinsonian syndromes",
        "Eur J Nucl Med Mol Imaging", "2022", "49:1176-1186", "10.1007/s00259-021-05569-9",
    ),
    "bach2015": Reference(
        ("Bach, S", "Binder, A", "Montavon, G", "Klauschen, F", "Müller, KR", "Samek, W"),
        "On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation",
        "PLoS One", "2015", "10:e0130140", "10.1371/journal.pone.0130140",
    ),
    "wilson1927": Reference(
        ("Wilson, EB",), "Probable inference, the law of succession, and statistical inference",
        "J Am Stat Assoc", "1927", "22:209-212", "10.1080/01621459.1927.10502953",
    ),
    "delong1988": Reference(
        ("DeLong, ER", "DeLong, DM", "Clarke-Pearson, DL"),
        "Comparing the areas under two or more correlated receiver operating characteristic curves: a nonparametric "
        "approach",
        "Biometrics", "1988", "44:837-845", "10.2307/2531595",
    ),
    "kingma2014": Reference(
        ("Kingma, DP", "Ba, J"), "Adam: a method for stochastic optimization",
        "International Conference on Learning Representations", "2015", "", "arXiv:1412.6980", "inproceedings",
    ),
    "chang1978": Reference(
        ("Chang, LT",), "A method for attenuation correction in radionuclide computed tomography",
        "IEEE Trans Nucl Sci", "1978", "25:638-643",
    ),
    "tossicibolt2006": Reference(
        ("Tossici-Bolt, L", "Hoffmann, SMA", "Kemp, PM", "Mehta, RL", "Fleming, JS"),
        "Quantification of [123I]FP-CIT SPECT brain images: an accurate technique for measurement of the specific "
        "binding ratio",
        "Eur J Nucl Med Mol Imaging", "2006", "33",
    ),
    "morbelli2020": Reference(
        (
            "Morbelli, S", "Esposito, G", "Arbizu, J", "Barthel, H", "Boellaard, R", "Bohnen, NI", "Brooks, DJ",
            "Darcourt, J", "Dickson, JC", "Douglas, D", "Drzezga, A", "Dubroff, J", "Ekmekcioglu, O", "Garibotto, V",
            "Herscovitch, P", "Kuo, P", "Lammertsma, A", "Pappata, S", "Peñuelas, I", "Seibyl, J", "Semah, F",
            "Tossici-Bolt, L", "Van de Giessen, E", "Van Laere, K", "Varrone, A", "Wanner, M", "Zubal, G", "Law, I",
        ),
        "EANM practice guideline/SNMMI procedure standard for dopaminergic imaging in Parkinsonian syndromes 1.0",
        "Eur J Nucl Med Mol Imaging", "2020", "47:1885-1912", "10.1007/s00259-020-04817-8",
    ),
    "bossuyt2015": Reference(
        ("Bossuyt, PM", "Reitsma, JB", "Bruns, DE", "Gatsonis, CA", "Glasziou, PP", "Irwig, L", "others"),
        "STARD 2015: an updated list of essential items for reporting diagnostic accuracy studies",
        "BMJ", "2015", "351:h5527", "10.1136/bmj.h5527",
    ),
    "guo2017": Reference(
        ("Guo, C", "Pleiss, G", "Sun, Y", "Weinberger, KQ"), "On calibration of modern neural networks",
        "International Conference on Machine Learning", "2017", "70:1321-1330", "arXiv:1706.04599", "inproceedings",
    ),
    "mcnemar1947": Reference(
        ("McNemar, Q",),
        "Note on the sampling error of the difference between correlated proportions or percentages",
        "Psychometrika", "1947", "12:153-157", "10.1007/BF02295996",
    ),
    "breiman1984": Reference(
        ("Breiman, L", "Friedman, JH", "Olshen, RA", "Stone, CJ"), "Classification and regression trees",
        "Wadsworth", "1984", kind="book",
    ),
    "adebayo2018": Reference(
        ("Adebayo, J", "Gilmer, J", "Muelly, M", "Goodfellow, I", "Hardt, M", "Kim, B"),
        "Sanity checks for saliency maps",
        "Advances in Neural Information Processing Systems", "2018", "31", "arXiv:1810.03292", "inproceedings",
    ),
    "sixt2020": Reference(
        ("Sixt, L", "Granz, M", "Landgraf, T"), "When explanations lie: why many modified BP attributions fail",
        "International Conference on Machine Learning", "2020", "119:9046-9057", "arXiv:1912.09818", "inproceedings",
    ),
    "samek2017": Reference(
        ("Samek, W", "Binder, A", "Montavon, G", "Lapuschkin, S", "Müller, KR"),
        "Evaluating the visualization of what a deep neural network has learned",
        "IEEE Trans Neural Netw Learn Syst", "2017", "28:2660-2673", "10.1109/TNNLS.2016.2599820",
    ),
    "arras2022": Reference(
        ("Arras, L", "Osman, A", "Samek, W"),
        "CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural network explanations",
        "Inf Fusion", "2022", "81:14-40", "10.1016/j.inffus.2021.11.008",
    ),
}  # fmt: skip
"""By key; a text cites them as `[@nazari2022]` or `[@nazari2022; @bach2015]`."""


def cited(paragraphs: Iterable[str]) -> tuple[str, ...]:
    """Give the keys that the paragraphs cite, in the order of their first mention; KeyError for an unknown one."""
    keys = dict.fromkeys(key for text in paragraphs for found in _CITATION.findall(text) for key in _keys(found))
    return tuple(key for key in keys if REFERENCES[key])


def _keys(citation: str) -> list[str]:
    return [key.strip(" @") for key in citation.split(";")]


def numbered(paragraph: str, keys: tuple[str, ...]) -> str:
    """Replace the keys of a paragraph by their place in `keys`, from 1."""
    return _CITATION.sub(lambda found: f"[{', '.join(str(keys.index(key) + 1) for key in _keys(found[1]))}]", paragraph)


def bibtex(keys: Iterable[str]) -> str:
    """Write the works as a BibTeX file."""
    return "\n".join(REFERENCES[key].bibtex(key) for key in keys)
