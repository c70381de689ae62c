# What R's ordinal::clmm says of the simulated ratings beside this script.
# Rscript tests/r/clmm.R, from the repository root; some minutes.
library(ordinal)
library(jsonlite)

here <- "tests/r"
judges <- c("base", "reference", "tuned")
both <- value ~ judge + (1 | rater) + (1 | passage)
formulas <- list(
  "crossed" = both,
  "covariates" = value ~ judge + position + log_length +
    (1 | rater) + (1 | passage) + (1 | diagnosis),
  "small-variance" = both,
  "zero-variance" = both
)

found <- lapply(names(formulas), function(name) {
  rows <- read.csv(file.path(here, paste0(name, ".csv")))
  rows$value <- factor(rows$value)
  rows$judge <- factor(rows$judge, levels = judges)
  rows$diagnosis <- interaction(rows$passage, rows$judge)
  for (column in c("rater", "passage")) rows[[column]] <- factor(rows[[column]])
  model <- suppressWarnings(clmm(formulas[[name]], data = rows))
  # clmm stops where its gradient is about 1e-4, and takes its Hessian by simple differences. Its
  # own likelihood is climbed further here, with Richardson's extrapolation, so that its stopping
  # rule is not what is compared.
  surface <- clmm(formulas[[name]], data = rows, doFit = FALSE,
                  control = clmm.control(gradTol = 1e-9, maxIter = 500, maxLineIter = 200))
  minus <- function(p) suppressWarnings(ordinal:::getNLA(surface, p))
  place <- nlminb(model$optRes$par, minus,
                  control = list(rel.tol = 1e-14, x.tol = 1e-12, iter.max = 500, eval.max = 2000))
  place <- as.numeric(place$par)
  curve <- numDeriv::hessian(minus, place)
  place <- place - solve(curve, numDeriv::grad(minus, place))
  cuts <- length(model$alpha)
  fixed <- cuts + length(model$beta)
  list(
    thresholds = setNames(as.list(place[seq_len(cuts)]), names(model$alpha)),
    coefficients = setNames(as.list(place[(cuts + 1):fixed]), names(model$beta)),
    standard_errors = setNames(as.list(sqrt(diag(solve(curve)))[seq_len(fixed)]),
                               c(names(model$alpha), names(model$beta))),
    sds = setNames(as.list(abs(place[-seq_len(fixed)])), names(model$ST)),
    loglik = -minus(place),
    gradient = max(abs(numDeriv::grad(minus, place))),
    as_clmm_stopped = list(
      coefficients = as.list(model$beta), loglik = as.numeric(logLik(model)),
      sds = lapply(model$ST, function(s) unname(s[1, 1]))
    )
  )
})
names(found) <- names(formulas)
made_by <- paste(R.version.string, "ordinal", packageVersion("ordinal"))
write_json(list(made_by = made_by, models = found), file.path(here, "clmm.json"),
           auto_unbox = TRUE, digits = I(14), pretty = TRUE, null = "null")
