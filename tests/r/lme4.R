# What R's lme4::lmer says of the simulated ratings beside this script, taken as numbers.
# Rscript tests/r/lme4.R, from the repository root.
library(lme4)
library(jsonlite)

here <- "tests/r"
judges <- c("base", "reference", "tuned")
formulas <- list(
  "crossed" = value ~ judge + (1 | rater) + (1 | passage),
  "covariates" = value ~ judge + position + log_length +
    (1 | rater) + (1 | passage) + (1 | diagnosis),
  # The tuned judge has seeds, the others none: an intercept where ``own`` is 1.
  "seeds" = value ~ judge + (1 | rater) + (1 | passage) + (0 + own | seed)
)

found <- lapply(names(formulas), function(name) {
  rows <- read.csv(file.path(here, paste0(name, ".csv")))
  rows$judge <- factor(rows$judge, levels = judges)
  rows$own <- as.numeric(rows$judge == "tuned")
  # Where there is no seed any will do: it is multiplied by zero.
  rows$seed <- ifelse(rows$own == 1, rows$seed, "s0")
  rows$diagnosis <- interaction(rows$passage, rows$judge)
  model <- lmer(formulas[[name]], data = rows,
                control = lmerControl(optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-14)))
  list(
    coefficients = as.list(fixef(model)),
    standard_errors = as.list(sqrt(diag(as.matrix(vcov(model))))),
    sds = lapply(VarCorr(model), function(v) unname(attr(v, "stddev"))),
    residual_sd = sigma(model),
    loglik = as.numeric(logLik(model))
  )
})
names(found) <- names(formulas)
made_by <- paste(R.version.string, "lme4", packageVersion("lme4"))
write_json(list(made_by = made_by, models = found), file.path(here, "lme4.json"),
           auto_unbox = TRUE, digits = I(12), pretty = TRUE, null = "null")
