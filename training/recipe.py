"""A recipe: everything that decides a training run but the labels, in one TOML file. Unknown keys are refused."""

import json
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """Hyper-parameters. `training/recipes/small.toml` has those of the shipped model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    base_model: str = Field(description="a name from `base_models`, any Hugging Face name, or a local folder")
    epochs: int = Field(ge=1)
    batch_paragraphs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(gt=0)
    layer_decay: float = Field(gt=0, le=1, description="each layer learns by this factor less than the one above")
    warmup: float = Field(ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(ge=0)
    dropout: float = Field(ge=0, lt=1, description="before the head; within the encoder its own holds")
    voice_weight: float = Field(ge=0, description="of the voice loss beside the label loss")
    distillation: float = Field(ge=0, le=1, description="share of the loss that follows a teacher, if one is given")
    token_distillation: float = Field(0.0, ge=0, description="of the loss that follows a teacher's tokens")
    recut: float = Field(0.0, ge=0, le=1, description="share of the documents that come once more, cut elsewhere")
    noise: float = Field(0.0, ge=0, le=1, description="share of the paragraphs that come once more, misspelt")
    seed: int = 1

    def toml(self) -> str:
        """The recipe as a file; a string or number is written in TOML as in JSON."""
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.model_dump().items())


def read_recipe(name_or_path: str, *, base_model: str | None = None) -> Recipe:
    """A recipe by the name of a file in `training/recipes/`, or by path; `base_model` replaces its own. Raises RecipeError."""
    path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe.model_validate(read if base_model is None else {**read, "base_model": base_model})
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise RecipeError(f"there is no recipe {name_or_path!r}; the project has {known}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"{path}: {reasons}") from error
